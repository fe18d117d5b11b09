"""What the write doors give back: the effect of a write, and the message to publish about it."""

from dataclasses import dataclass

from facepass.schemas.events import IndexUpdate
from facepass.schemas.ledger import Effect, PhotoEvent, UpdateStatus
from facepass.storage.generations import Generation
from facepass.storage.writes.rules import Row, Settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of one photo event. `update` is what to publish on `index-updates`, for duplicates too."""

    effect: Effect
    update: IndexUpdate


def settled_update(
    generation: Generation, event: PhotoEvent, row: Row, settled: Settled, session_revision: int
) -> Written:
    """For an event that changed nothing: a duplicate's message is made again from the row."""
    if settled.effect is Effect.FENCED:
        update = _update(generation, event, revision=session_revision, status=UpdateStatus.FENCED, row=None)
        return Written(effect=Effect.FENCED, update=update.model_copy(update={"code": settled.code}))
    return Written(effect=settled.effect, update=row_update(generation, event, row))


def row_update(generation: Generation, event: PhotoEvent, row: Row) -> IndexUpdate:
    """The message that describes `row`, the photo of `event`."""
    if row.state is None:
        raise ValueError("the photo has no row")
    return _update(generation, event, revision=row.revision, status=UpdateStatus(row.state), row=row)


def _update(
    generation: Generation, event: PhotoEvent, *, revision: int, status: UpdateStatus, row: Row | None
) -> IndexUpdate:
    occurred_at = event.occurred_at if row is None or row.occurred_at is None else row.occurred_at
    return IndexUpdate(
        session_id=event.session_id,
        photo_id=event.photo_id,
        occurred_at=occurred_at.isoformat(),  # the model takes RFC 3339 text
        generation=generation.number,
        revision=revision,
        status=status,
        faces_detected=row.faces_detected if row else 0,
        confidence=row.confidence if row else None,
        code=row.error if row else None,
    )
