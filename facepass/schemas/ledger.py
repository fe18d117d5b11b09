"""The ledger: what state each photo is in, and what a write did to it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from facepass.schemas.ids import SessionId


class PhotoState(StrEnum):
    """The state of a photo. Every photo seen is in exactly one; `pending` is the only one that is not terminal."""

    PENDING = "pending"
    INDEXED = "indexed"
    NO_FACE = "no_face"
    FILTERED = "filtered"
    FAILED = "failed"
    DELETED = "deleted"


class UpdateStatus(StrEnum):
    """The status that `index-updates` gives a photo or session."""

    PENDING = "pending"
    INDEXED = "indexed"
    NO_FACE = "no_face"
    FILTERED = "filtered"
    FAILED = "failed"
    FENCED = "fenced"
    DELETED = "deleted"
    SESSION_DELETED = "session_deleted"


class Effect(StrEnum):
    """The effect of a write."""

    WRITTEN = "written"
    DUPLICATE = "duplicate"
    """The row rests on this event or a newer one: nothing changed."""
    FENCED = "fenced"
    """A deletion covers the event: nothing changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The record an event came in."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCounts:
    """One session's row of the ledger, for the active generation.

    Attributes:
        known: whether anything was ever heard of the session; all counters are zero if not.
        delta_floor: a shard below this revision must load anew: what was removed up to it is forgotten.
        indexed: photos with at least one stored face that are not waiting for a newer event.
        facepass_enabled: None: not announced by `session-updated`, or deleted since.
    """

    session_id: SessionId
    known: bool
    revision: int
    delta_floor: int
    pending: int
    indexed: int
    no_face: int
    filtered: int
    failed: int
    deleted: int
    photo_count: int
    face_count: int
    last_indexed: datetime | None
    facepass_enabled: bool | None

    @property
    def present(self) -> int:
        """The number of photos that are not deleted."""
        return self.pending + self.indexed + self.no_face + self.filtered + self.failed

    @property
    def exists(self) -> bool:
        """True if more is known than deletions: a photo that is not deleted, or an announcement since."""
        return self.present > 0 or self.facepass_enabled is not None
