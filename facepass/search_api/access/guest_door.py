"""Whether a session may be searched, looked at and shown on the page: one rule for all of them."""

from typing import Literal

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.ids import SessionId
from facepass.schemas.ledger import SessionCounts
from facepass.search_api.parts import Parts
from facepass.storage.writes import read_counts

Unannounced = Literal["allow", "refuse"]


ADMISSION_ERRORS = (ErrorCode.SESSION_NOT_FOUND, ErrorCode.FACEPASS_DISABLED, ErrorCode.SESSION_UNANNOUNCED)
"""What `admit_session` may raise about the session, for `documented`."""


async def admit_session(parts: Parts, session_id: SessionId) -> None:
    """Return if guests may use the session now; raise if not.

    How to call it in a search: right after the form was read, before the selfie is analysed and the shard is
    prepared, so that a refused search costs no inference and loads no shard. A session whose shard is held costs
    no round trip to the database: what its newest poll read decides, so a session that `session-updated` switches
    off or on again is refused or admitted one poll (a second) later. Of one that is not held a single row is read.

    Raises:
        PermanentError: `session_not_found` (404), `facepass_disabled` (403), `session_unannounced` (403).
        TransientError: `database_unavailable`, only for a session that is not held.
    """
    counts = parts.shards.counts(session_id)
    if counts is None:
        counts = await read_counts(parts.store, session_id)
    refused = refusal(counts, parts.access.unannounced)
    if refused is not None:
        raise refused


def refusal(counts: SessionCounts, unannounced: Unannounced) -> PermanentError | None:
    """Why guests may not use a session; None if they may.

    - Announced and switched on: they may, also before its first photo.
    - Announced and switched off: `facepass_disabled`, with and without photos.
    - With photos, but not announced: they may, unless the settings refuse that with `session_unannounced`. A
      deletion takes an announcement with it, so photos that came after a deletion are such a session again until
      the next announcement; also if it was switched off before.
    - No row at all, or nothing but deletions (of the session, or of each of its photos): `session_not_found`.
      Whoever deleted it expects that it is gone; that its fence is kept is ours to know.

    Args:
        counts: the session's row; zeros if there is none.
    """
    if not counts.exists:
        return PermanentError(ErrorCode.SESSION_NOT_FOUND, "nothing is known of this session")
    if counts.facepass_enabled is None and unannounced == "refuse":
        return PermanentError(
            ErrorCode.SESSION_UNANNOUNCED,
            "this session was not announced to FacePass; publish session-updated for it",
        )
    if counts.facepass_enabled is False:
        return PermanentError(ErrorCode.FACEPASS_DISABLED, "FacePass is switched off for this session")
    return None
