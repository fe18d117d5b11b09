"""A photo on its way through intake and ingest: the event that asked for it, and what became of it."""

from dataclasses import dataclass

from facepass.schemas.errors import ErrorCode
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.faces import PhotoFaces
from facepass.schemas.ledger import Origin, PhotoState


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoEvent:
    """One request to index a photo, as intake, ingest and the sweep hand it to the write doors.

    Attributes:
        origin: the record that it came in; of a swept photo, the one that its row names.
    """

    event: PhotoIndexed
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoOutcome:
    """The outcome for a photo after fetch and inference.

    Attributes:
        state: a terminal state, or pending when the store failed for now and the sweep shall try again.
        found: the faces of an `indexed`, `no_face` or `filtered` photo; None otherwise.
        error: code of a failure; None otherwise.
        error_text: what a dead letter says of the failure.
        etag: of the fetched object, if the photo store has one.
    """

    photo: PhotoEvent
    state: PhotoState
    found: PhotoFaces | None = None
    error: ErrorCode | None = None
    error_text: str | None = None
    etag: str | None = None
