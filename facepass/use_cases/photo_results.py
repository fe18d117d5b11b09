"""The results of photos, for those who wait for them.

The updates on `index-updates` tell at once; they may be lost, so whoever waits also looks into the ledger now and
then, and that alone is enough. Nobody who waits holds a connection.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from facepass.schemas.errors import ErrorCode, FacePassError
from facepass.schemas.events import IndexUpdate
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import UpdateStatus
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import index_calls_waiting, index_outcomes_total
from facepass.storage import Store
from facepass.storage.reads import PhotoRow, read_photos

_log = get_logger(__name__)

_FIRST_LOOK_SECONDS = 1.0
_LONGEST_LOOK_SECONDS = 5.0
"""Between two looks into the ledger: the pauses grow by half each time."""

_TERMINAL = (UpdateStatus.INDEXED, UpdateStatus.NO_FACE, UpdateStatus.FILTERED, UpdateStatus.FAILED)
_GONE = (UpdateStatus.FENCED, UpdateStatus.DELETED, UpdateStatus.SESSION_DELETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoResult:
    """The result of a photo's event, or of a newer one.

    Attributes:
        status: `indexed`, `no_face`, `filtered`, `failed` or `fenced`.
        revision: of the session; a search at it sees the result. 0 of a fenced photo.
        faces_detected: with those that the quality gate left out.
        confidence: of the most confident face.
        code: the error's, if there is one.
    """

    status: UpdateStatus
    revision: int
    faces_detected: int = 0
    confidence: float | None = None
    code: ErrorCode | None = None


FENCED = PhotoResult(status=UpdateStatus.FENCED, revision=0, code=ErrorCode.FENCED)
"""Of every event that a deletion covers."""


def stored_result(photo: PhotoRow) -> PhotoResult | None:
    """The result of the event that a photo's row rests on; None while it is pending, or if there is no row."""
    status = None if photo.state is None else UpdateStatus(photo.state)
    if status not in _TERMINAL:
        return None
    return PhotoResult(
        status=status,
        revision=photo.revision,
        faces_detected=photo.faces_detected,
        confidence=photo.confidence,
        code=None if photo.error is None else ErrorCode(photo.error),
    )


def _result_of(photo: PhotoRow, occurred_at: datetime) -> PhotoResult | None:
    """The result of an event of that time, or of a newer one; None if nothing yet."""
    if photo.fenced(occurred_at):
        return FENCED
    if photo.occurred_at is None or photo.occurred_at < occurred_at:
        return None
    return stored_result(photo)


class PhotoResults:
    """The place where calls wait, and get the updates that this process hears of."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[SessionId, set[Waiting]] = {}

    def note(self, update: IndexUpdate) -> None:
        """Take an update from `index-updates`; never waits."""
        # Called by the follower of facepass/streams, which has this object as its `listener`.
        for waiting in self._waiting.get(update.session_id, ()):
            waiting.note(update)

    @contextmanager
    def waiting(self, session_id: SessionId, times: Mapping[PhotoId, datetime]) -> Iterator["Waiting"]:
        """Wait for photos of one session inside the block. Enter it before the events are published.

        Args:
            times: `occurred_at` of each photo's event: only what rests on it or on a newer one counts.
        """
        waiting = Waiting(self._store, session_id, times)
        self._waiting.setdefault(session_id, set()).add(waiting)
        try:
            with index_calls_waiting.track_inprogress():
                yield waiting
        finally:
            self._waiting[session_id].discard(waiting)
            if not self._waiting[session_id]:
                del self._waiting[session_id]


class Waiting:
    """One call's wait. Made by `PhotoResults.waiting`."""

    def __init__(self, store: Store, session_id: SessionId, times: Mapping[PhotoId, datetime]) -> None:
        self._store = store
        self._session_id = session_id
        self._open = dict(times)
        self._arrived: dict[PhotoId, PhotoResult] = {}
        self._changed = asyncio.Event()
        self._pause = _FIRST_LOOK_SECONDS
        self._look_at = time.monotonic() + self._pause

    @property
    def over(self) -> bool:
        """True if every photo's result has been handed out."""
        return not self._open and not self._arrived

    def note(self, update: IndexUpdate) -> None:
        """Take an update of the session."""
        if update.photo_id is None:
            if update.status is UpdateStatus.SESSION_DELETED:
                for photo_id in list(self._open):
                    self._take(photo_id, update)
        elif update.photo_id in self._open:
            self._take(update.photo_id, update)

    async def more(self, until: float) -> dict[PhotoId, PhotoResult]:
        """The results since the last call, waited for at most until `until` on `time.monotonic`."""
        while not self._arrived and self._open and (now := time.monotonic()) < until:
            try:
                async with asyncio.timeout(min(until, max(self._look_at, now)) - now):
                    await self._changed.wait()
            except TimeoutError:
                if time.monotonic() >= self._look_at:
                    await self._look(until)
        arrived, self._arrived = self._arrived, {}
        self._changed.clear()
        return arrived

    def _take(self, photo_id: PhotoId, update: IndexUpdate) -> None:
        if update.occurred_at < self._open[photo_id]:
            return
        if update.status in _GONE:
            self._arrive(photo_id, FENCED, "update")
        elif update.status in _TERMINAL and update.generation == self._store.generation.number:
            result = PhotoResult(
                status=update.status,
                revision=update.revision,
                faces_detected=update.faces_detected,
                confidence=update.confidence,
                code=update.code,
            )
            self._arrive(photo_id, result, "update")

    def _arrive(self, photo_id: PhotoId, result: PhotoResult, source: str) -> None:
        del self._open[photo_id]
        self._arrived[photo_id] = result
        index_outcomes_total.labels(source=source).inc()
        self._changed.set()

    async def _look(self, until: float) -> None:
        """Ask the ledger for all that is open. Its failure is none of the call's: the next look may succeed."""
        try:
            async with asyncio.timeout(until - time.monotonic()):
                known = await read_photos(self._store, self._session_id, self._open)
        except (FacePassError, TimeoutError) as exc:
            _log.debug("ledger_not_read", session_id=self._session_id, error=exc)
        else:
            for photo_id, photo in known.items():
                # an update may have come while the ledger was read
                if photo_id in self._open and (result := _result_of(photo, self._open[photo_id])):
                    self._arrive(photo_id, result, "ledger")
        self._pause = min(self._pause * 1.5, _LONGEST_LOOK_SECONDS)
        self._look_at = time.monotonic() + self._pause
