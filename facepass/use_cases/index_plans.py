"""The plan of a call: which photos need an event, of what time, and which the ledger answers at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from facepass.schemas.events import PhotoIndexed
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import PhotoState
from facepass.storage.reads import PhotoRow
from facepass.use_cases.photo_results import FENCED, PhotoResult, stored_result

_FINAL = (PhotoState.INDEXED, PhotoState.NO_FACE, PhotoState.FILTERED)
"""What comes of the same object again and again; a photo that failed may succeed when it is tried again."""

JOINED = timedelta(minutes=10)
"""A photo that waits for its first attempt since less than this is waited for, and not asked for again: a caller
who repeats a call that took too long would otherwise move its photos to the end of the queue. One that waits for
longer may have lost its event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The work to be done for some photos of a session.

    Attributes:
        answered: what the ledger says already.
        times: `occurred_at` of the events to wait for.
        ask: those of `times` whose event is still to be published.
    """

    answered: Mapping[PhotoId, PhotoResult]
    times: Mapping[PhotoId, datetime]
    ask: frozenset[PhotoId]


def make_plan(keys: Mapping[PhotoId, str | None], known: Mapping[PhotoId, PhotoRow]) -> Plan:
    """Plan for photos with their keys; None for an image that has none yet."""
    now = datetime.now(UTC)
    answered: dict[PhotoId, PhotoResult] = {}
    times: dict[PhotoId, datetime] = {}
    ask: set[PhotoId] = set()
    for photo_id, key in keys.items():
        photo = known[photo_id]
        same = key is not None and photo.s3_key == key
        if same and photo.state in _FINAL and (result := stored_result(photo)):
            answered[photo_id] = result
        elif same and (joined := _waits_since(photo, now)):
            times[photo_id] = joined
        else:
            time = _event_time(photo, now)
            if photo.fenced(time):
                answered[photo_id] = FENCED
            else:
                times[photo_id] = time
                ask.add(photo_id)
    return Plan(answered=answered, times=times, ask=frozenset(ask))


def events(
    session_id: SessionId, plan: Plan, keys: Mapping[PhotoId, str], photo_ids: Iterable[PhotoId]
) -> list[PhotoIndexed]:
    """The events of some photos, as Pixora would publish them."""
    return [
        PhotoIndexed(
            session_id=session_id,
            photo_id=photo_id,
            s3_key=keys[photo_id],
            occurred_at=plan.times[photo_id].isoformat(),  # the model takes RFC 3339 text
        )
        for photo_id in photo_ids
    ]


def _waits_since(photo: PhotoRow, now: datetime) -> datetime | None:
    """The time of the event that a photo waits for, if that is on its way."""
    waits = photo.state is PhotoState.PENDING and not photo.attempts
    if waits and photo.occurred_at is not None and now - photo.occurred_at < JOINED:
        return photo.occurred_at
    return None


def _event_time(photo: PhotoRow, now: datetime) -> datetime:
    """The time now; later than what the ledger has, if the clock of whoever sent that runs ahead.

    Of a deleted photo always now: a fence is passed by time alone.
    """
    if photo.occurred_at is None or photo.state is PhotoState.DELETED:
        return now
    return max(now, photo.occurred_at + timedelta(microseconds=1))
