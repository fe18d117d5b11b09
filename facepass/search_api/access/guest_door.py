"""The one door of guests: every operation about a session that is open to its guests comes through here, once the
session's id is known.

    door = GuestDoor(guard=guard, store=store, shards=shards, unannounced="allow")
    Depends(door.in_path())                  # the session in the path, entered; gives its id
    await door.enter(request, session_id)    # the same for an id that comes another way
    await door.admit(request, session_id)    # entered, and guests may use the session now
    await door.look_up(session_id)           # of one that was entered: what it is, and why guests may not use it
    await door.refusal_to_show(session_id)   # of the page's document, which needs no token
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import structlog
from fastapi import Depends, Request

from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.ids import SessionId
from facepass.schemas.ledger import SessionCounts
from facepass.search_api.access.guard import Guard
from facepass.search_api.http import SessionInPath
from facepass.storage import Store
from facepass.storage.reads import SessionRow, read_counts, read_session
from facepass.storage.shards import Shards

ADMISSION_ERRORS = (ErrorCode.SESSION_NOT_FOUND, ErrorCode.FACEPASS_DISABLED, ErrorCode.SESSION_UNANNOUNCED)
"""What `admit` may raise about the session, for `documented`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestDoor:
    """The door of guests: names the session in the request's log line, checks the guest's token, knows which
    sessions guests may use.

    Attributes:
        unannounced: what becomes of a session with photos that was never announced.
    """

    guard: Guard
    store: Store
    shards: Shards
    unannounced: Literal["allow", "refuse"]

    def in_path(self) -> Callable[..., Awaitable[SessionId]]:
        """A dependency that enters the session whose id is in the path, and gives the id. A caller without any
        token or key is refused before the id is looked at."""

        async def entered(
            request: Request, session_id: SessionInPath, _known: Annotated[None, Depends(self.guard.guest())]
        ) -> SessionId:
            await self.enter(request, session_id)
            return session_id

        return entered

    async def enter(self, request: Request, session_id: SessionId) -> None:
        """Let a guest of the session pass, a key with scope read, or anyone where tokens are not required.

        Raises: as `Guard.check_guest`.
        """
        structlog.contextvars.bind_contextvars(session_id=session_id)
        if self.guard.tokens_required:
            await self.guard.check_guest(request, session_id)

    async def admit(self, request: Request, session_id: SessionId) -> None:
        """Enter, if guests may use the session now.

        How to call it in a search: right after the form was read, before the selfie is analysed and the shard is
        prepared, so that a refused search costs no inference and loads no shard.

        Raises:
            PermanentError: `session_not_found` (404), `facepass_disabled` (403), `session_unannounced` (403); as
                `Guard.check_guest`.
            TransientError: `database_unavailable`, only for a session whose shard is not in memory, or of
                `Guard.check_guest`.
        """
        await self.enter(request, session_id)
        refused = await self.refusal(session_id)
        if refused is not None:
            raise refused

    async def look_up(self, session_id: SessionId) -> tuple[SessionRow, PermanentError | None]:
        """The session as far as it is known, and why guests may not use it; None if they may.

        Raises: as `Database.transaction`.
        """
        session = await read_session(self.store, session_id)
        return session, self.refusal_by(session)

    async def refusal_to_show(self, session_id: SessionId) -> PermanentError | None:
        """The reason why a session cannot be searched, if the page's document says so; None if it does not.

        The document comes before any token, so where guests need one it says nothing of the session. When the
        database does not answer, the page itself says so, and tries again.
        """
        structlog.contextvars.bind_contextvars(session_id=session_id)
        if self.guard.tokens_required:
            return None
        try:
            return await self.refusal(session_id)
        except TransientError:
            return None

    async def refusal(self, session_id: SessionId) -> PermanentError | None:
        """The reason why guests may not use a session; None if they may.

        A session whose shard is in memory costs no round trip to the database: what its newest poll read decides,
        so a session that `session-updated` switches off or on again is refused or admitted one poll (a second)
        later. Of another a single row is read.

        Raises:
            TransientError: `database_unavailable`, only for a session whose shard is not in memory.
        """
        counts = self.shards.counts(session_id)
        if counts is None:
            counts = await read_counts(self.store, session_id)
        return self.refusal_by(counts)

    def refusal_by(self, counts: SessionCounts) -> PermanentError | None:
        """The reason why guests may not use a session; None if they may.

        - Announced and switched on: they may, also before its first photo.
        - Announced and switched off: `facepass_disabled`, with and without photos.
        - With photos, but not announced: they may, unless the settings refuse that with `session_unannounced`. A
          deletion takes an announcement with it, so photos that came after a deletion are such a session again
          until the next announcement; also if it was switched off before.
        - No row at all, or nothing but deletions (of the session, or of each of its photos): `session_not_found`.
          Whoever deleted it expects that it is gone; that its fence is kept is ours to know.

        Args:
            counts: the session's row; zeros if there is none.
        """
        if not counts.exists:
            return PermanentError(ErrorCode.SESSION_NOT_FOUND, "nothing is known of this session")
        if counts.facepass_enabled is None and self.unannounced == "refuse":
            return PermanentError(
                ErrorCode.SESSION_UNANNOUNCED,
                "this session was not announced to FacePass; publish session-updated for it",
            )
        if counts.facepass_enabled is False:
            return PermanentError(ErrorCode.FACEPASS_DISABLED, "FacePass is switched off for this session")
        return None
