"""All error codes, the exceptions that carry them, and how a report of pydantic's becomes one.

A failure is either permanent (trying again changes nothing: it ends in the ledger or in a 4xx answer) or
transient (the same call may succeed later: it is retried, or answered with a 503).
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol


class ErrorCode(StrEnum):
    """The code of a failure, for programs. The message says the same to a person, with what to do."""

    # events
    INVALID_EVENT = "invalid_event"
    """The bytes are not a JSON object of the topic's schema."""
    INVALID_ID = "invalid_id"
    """An id is empty, longer than 255 characters, holds NUL, or is neither string nor integer."""
    OCCURRED_AT_AHEAD = "occurred_at_ahead"
    """`occurred_at` lies more than five minutes after the record's own timestamp."""
    FENCED = "fenced"
    """A deletion at or after the event's `occurred_at` covers it."""
    OCCURRED_AT_REQUIRED = "occurred_at_required"
    """The photo or session was deleted: only an event with an `occurred_at` of its own can bring it back."""

    # photo store
    INVALID_S3_KEY = "invalid_s3_key"
    """The key is empty, absolute, or leaves the photo store's root or prefix."""
    PHOTO_NOT_FOUND = "photo_not_found"
    """The photo store has no object of that key."""
    STORE_FORBIDDEN = "store_forbidden"
    """The photo store refuses access to the object."""
    STORE_UNAVAILABLE = "store_unavailable"
    """The photo store does not answer, or answers with a server error."""

    # images
    FILE_TOO_LARGE = "file_too_large"
    """The file has more bytes than the limit."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """The header announces more pixels than the limit."""
    UNSUPPORTED_IMAGE = "unsupported_image"
    """Not a JPEG, PNG or WebP file by its first bytes, or a kind of one that is not read (animated)."""
    DAMAGED_IMAGE = "damaged_image"
    """The file is truncated or its content cannot be decoded completely."""
    NO_FACE = "no_face"
    """No face was found in the selfie, or in the photo of a call that indexes one."""
    DECODER_FAILED = "decoder_failed"
    """Decoding the image took too long, too much memory, or crashed; nothing else was touched."""

    # searches
    SESSION_NOT_FOUND = "session_not_found"
    """Nothing is known of this session, or it was deleted."""
    INVALID_PARAMETER = "invalid_parameter"
    """A parameter is missing, of the wrong type or out of range."""
    LEASE_EXPIRED = "lease_expired"
    """This replica has not seen the database's deletions recently enough to answer."""
    OVERLOADED = "overloaded"
    """Too much is under way at once."""
    NOT_FOUND = "not_found"
    """No such route."""
    METHOD_NOT_ALLOWED = "method_not_allowed"
    """The route exists, for another method."""
    UPLOAD_TIMEOUT = "upload_timeout"
    """The request's body did not arrive in time."""
    INTERNAL = "internal"
    """A defect of FacePass; the log has its traceback."""

    # callers
    KEY_REQUIRED = "key_required"
    """The operation needs an API key in the header X-API-Key, and there is none or it is not valid."""
    SCOPE_REQUIRED = "scope_required"
    """The API key is valid, but lacks the scope that the operation needs."""
    TOKEN_REQUIRED = "token_required"  # noqa: S105 - a code, no password
    """The operation needs the session's token, and there is none or it is not valid."""
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a code, no password
    """The session's token was valid once; the guest needs a new link."""
    RATE_LIMITED = "rate_limited"
    """More calls than the limit allows."""
    FACEPASS_DISABLED = "facepass_disabled"
    """FacePass is switched off for this session."""
    SESSION_UNANNOUNCED = "session_unannounced"
    """No `session-updated` event announced the session, and the settings refuse such sessions."""
    PHOTO_UNKNOWN = "photo_unknown"
    """No photo of this id is known in the session."""
    PENDING = "pending"
    """The outcome was not known when the call's time ran out; the work goes on."""
    FILTERED = "filtered"
    """The photo has faces, but none good enough to search for."""
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    """The Idempotency-Key was used before, with another request."""
    REQUEST_UNDER_WAY = "request_under_way"
    """The first call with this Idempotency-Key has no answer yet."""
    EVENT_NOT_FOUND = "event_not_found"
    """No event of this number or id (legacy routes)."""
    KEY_NOT_FOUND = "key_not_found"
    """No API key has this id (command line)."""

    # parts
    DATABASE_UNAVAILABLE = "database_unavailable"
    """PostgreSQL does not answer."""
    BROKER_UNAVAILABLE = "broker_unavailable"
    """Kafka does not answer."""
    TOPIC_MISSING = "topic_missing"
    """A topic that FacePass reads does not exist."""
    TOPIC_COMPACTED = "topic_compacted"
    """A topic's cleanup.policy is not `delete`: compaction keeps one event per key and would lose photos."""
    EVENT_REFUSED = "event_refused"
    """Kafka will never take this record (too large, or not authorised)."""
    TOO_MANY_DEAD_LETTERS = "too_many_dead_letters"
    """A worker would give up more events than its limit allows: something is wrong with all of them."""
    STALLED = "stalled"
    """A consumer has events before it and takes none: the process has to begin anew."""
    LETTER_NOT_FOUND = "letter_not_found"
    """No open dead letter has this id: it was replayed, discarded, or never there."""
    NOT_MIGRATED = "not_migrated"
    """The database lacks FacePass's tables, or has those of another version."""
    GENERATION_MISMATCH = "generation_mismatch"
    """The database's vectors were made by another model pack or other settings."""
    INVALID_PACK = "invalid_pack"
    """A model pack is missing, incomplete, or its files are not the ones its `pack.toml` names."""
    INVALID_SETTING = "invalid_setting"
    """A setting is missing or unusable."""
    MEMORY_BUDGET = "memory_budget"
    """A session's shard does not fit into the memory budget."""


class FacePassError(Exception):
    """A failure with a code for programs, a message for people and details for both.

    Neither message nor details may hold a vector, pixels, a key or a password.
    """

    def __init__(self, code: ErrorCode, message: str, **details: str | int | float | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class PermanentError(FacePassError):
    """A failure that comes again in the same way with the same input."""


class TransientError(FacePassError):
    """A failure after which the same call may succeed later."""


_IDS = frozenset({"session_id", "photo_id", "event_id"})


class _Report(Protocol):
    """The common part of pydantic's and FastAPI's errors."""

    def errors(self) -> Sequence[Any]: ...


def dotted_place(place: Sequence[int | str]) -> str:
    """The place in a body where something is wrong, such as `photos.3.photo_id`."""
    return ".".join(map(str, place)) or "body"


def invalid_input(
    report: _Report,
    *,
    code: ErrorCode = ErrorCode.INVALID_PARAMETER,
    missing_id: ErrorCode = ErrorCode.INVALID_PARAMETER,
    subject: str = "",
    place: Callable[[Sequence[int | str]], str] = dotted_place,
    detail: str = "field",
) -> PermanentError:
    """The first thing that is wrong with an input, and where, in pydantic's words; never what was sent.

    Args:
        code: of all but an id, whose code is `invalid_id`.
        missing_id: of an id that is not there.
        subject: what the input is, before the place.
        place: names the place by pydantic's `loc`.
        detail: the name under which the place is among the details.
    """
    first = report.errors()[0]
    name, where = next((part for part in reversed(first["loc"]) if isinstance(part, str)), ""), place(first["loc"])
    if name in _IDS:
        code = missing_id if first["type"] == "missing" else ErrorCode.INVALID_ID
    return PermanentError(code, f"{subject}{where}: {first['msg']}", **{detail: where})
