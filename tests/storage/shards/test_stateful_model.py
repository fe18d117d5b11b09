"""Write doors, delta reads and shards, step by step in any order, against a model that knows only the rules.

Steps are what happens to a running system: events arrive, in whatever order and however often; results are written
late, or never, because a worker died; hints come, come twice, or not at all; a replica polls, forgets a shard, or
starts anew. After every step the rows must equal the model's, and every answer the model's at its revision.

FACEPASS_STATEFUL_EXAMPLES sets how many runs of up to 50 steps are made.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from support.ledger import (
    SIZE,
    Storage,
    assert_ledger_is_exact,
    at,
    open_storage,
    outcome,
    photo_event,
    random_vector,
)

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.events import IndexUpdate
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import Effect, PhotoState, UpdateStatus
from facepass.schemas.metrics import shard_mismatches_total
from facepass.schemas.photo_events import PhotoEvent, PhotoOutcome
from facepass.schemas.settings import DatabaseSettings, LeaseSettings, ShardSettings
from facepass.storage.shards.replica import Replica
from facepass.storage.shards.shards import Shards
from facepass.storage.writes import (
    claim_overdue,
    delete_photo,
    delete_session,
    register_photos,
    save_photos,
    triage_photos,
)

EXAMPLES = int(os.environ.get("FACEPASS_STATEFUL_EXAMPLES", "10"))
RETRY_HOURS = 24.0
QUERY = random_vector("query")

SESSIONS = st.sampled_from(["s", "t"])
PHOTOS = st.sampled_from(["a", "b", "c"])
TIMES = st.integers(0, 9)


# The model ------------------------------------------------------------------------------------------------


@dataclass
class ModelPhoto:
    """`faces_of`: the time of the event that its faces came from."""

    state: str | None = None
    time: int | None = None
    faces_of: int | None = None
    fence: int = -1


@dataclass
class Model:
    """What the rows must say, by the rules in docs/decisions."""

    photos: dict[tuple[str, str], ModelPhoto] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)

    def photo(self, session: str, photo: str) -> ModelPhoto:
        return self.photos.setdefault((session, photo), ModelPhoto())

    def fenced(self, session: str, photo: str, time: int, *, given: bool) -> bool:
        """Whether a fence stops an event. Without a time of its own it passes none, unless it is known already."""
        one = self.photo(session, photo)
        fence = max(one.fence, self.fences.get(session, -1))
        known = one.state not in (None, "deleted") and one.time is not None and time <= one.time
        return time <= fence or (fence >= 0 and not given and not known)

    def register(self, session: str, photo: str, time: int, *, given: bool) -> None:
        one = self.photo(session, photo)
        alive = one.state not in (None, "deleted")
        if not self.fenced(session, photo, time, given=given) and not (alive and time <= (one.time or 0)):
            one.state, one.time = "pending", time

    def save(self, session: str, photo: str, time: int, result: PhotoOutcome, *, given: bool) -> bool:
        """Whether the outcome was written."""
        one = self.photo(session, photo)
        alive = one.state not in (None, "deleted")
        if self.fenced(session, photo, time, given=given) or (alive and time < (one.time or 0)):
            return False
        if alive and time == one.time:
            if one.state not in ("pending", "failed"):
                return False
            if one.state == "failed" and result.state in (PhotoState.FAILED, PhotoState.PENDING):
                return False
        one.state, one.time = str(result.state), time
        if result.state is not PhotoState.PENDING:
            one.faces_of = time if result.state is PhotoState.INDEXED else None
        return True

    def delete_photo(self, session: str, photo: str, time: int) -> bool:
        one = self.photo(session, photo)
        if time <= one.fence:
            return False
        one.fence = time
        self._remove(one, time)
        one.state = one.state or "deleted"
        return True

    def delete_session(self, session: str, time: int) -> bool:
        if time <= self.fences.get(session, -1):
            return False
        self.fences[session] = time
        for (of, _), one in self.photos.items():
            if of == session and one.state is not None:
                self._remove(one, time)
        return True

    def _remove(self, one: ModelPhoto, time: int) -> None:
        if one.time is not None and one.time <= time:
            one.state = "deleted"
        if one.faces_of is not None and one.faces_of <= time:
            one.faces_of = None

    def states(self) -> dict[tuple[str, str], str]:
        return {key: one.state for key, one in self.photos.items() if one.state is not None}

    def faces(self, session: str) -> dict[str, int]:
        """photo to the time of the event whose faces it has."""
        return {
            p: one.faces_of for (s, p), one in self.photos.items() if s == session and one.faces_of is not None
        }


def result_of(event: PhotoEvent, time: int) -> PhotoOutcome:
    """What fetching and embedding gives; depends on the event alone, as a real photo's faces do."""
    kind = (time * 5 + ord(event.event.photo_id)) % 6
    if kind == 0:
        return outcome(event, PhotoState.NO_FACE)
    if kind == 1:
        return outcome(event, PhotoState.FAILED)
    return outcome(event, faces=1 + kind % 3)


def time_of(event: PhotoEvent) -> int:
    return round((event.event.occurred_at - at(0)).total_seconds())


# The machine ----------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """What all runs share: an event loop and a database."""

    runner: asyncio.Runner
    storage: Storage


class Machine(RuleBasedStateMachine):
    bench: Bench

    events = Bundle("events")
    prepared = Bundle("prepared")
    hints = Bundle("hints")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.history: dict[tuple[str, int], dict[str, int]] = {}
        self.hides: dict[tuple[str, str | None], int] = {}
        self.mismatches = mismatches()
        self.run(self._clear())
        self.start_replica()

    # events ---------------------------------------------------------------------------------------------

    @initialize(target=events)
    def first_day(self) -> Any:
        """Photos that are there, so that every run has something to lose."""
        first = [photo_event(session, photo, time) for session in "st" for photo in "abc" for time in (1, 4)]
        self.redeliver([event for event in first if time_of(event) == 1])
        self.poll()
        return multiple(*first)

    @rule(target=events, session=SESSIONS, photo=PHOTOS, time=TIMES, given=st.integers(0, 4).map(bool))
    def publish(self, session: str, photo: str, time: int, given: bool) -> PhotoEvent:
        return photo_event(session, photo, time, given=given)

    @rule(batch=st.lists(events, min_size=1, max_size=4))
    def intake(self, batch: list[PhotoEvent]) -> None:
        self.run(register_photos(self.store, batch))
        for event in batch:
            self.model.register(*key(event), time_of(event), given=event.event.occurred_at_given)
        self.compare()

    @rule(target=prepared, event=events)
    def embed(self, event: PhotoEvent) -> PhotoOutcome:
        """The work before the transaction. It may be written at once, much later, or, after a crash, never."""
        return result_of(event, time_of(event))

    @rule(target=prepared, event=events)
    def store_fails(self, event: PhotoEvent) -> PhotoOutcome:
        return outcome(event, PhotoState.PENDING)

    @rule(target=hints, batch=st.lists(consumes(prepared), min_size=1, max_size=4))
    def save(self, batch: list[PhotoOutcome]) -> Any:
        written = self.run(save_photos(self.store, batch, retry_hours=RETRY_HOURS))
        for one, told in zip(batch, written, strict=True):
            event = one.photo
            expected = self.model.save(*key(event), time_of(event), one, given=event.event.occurred_at_given)
            assert (told.effect is Effect.WRITTEN) == expected, (event, told)
        self.compare()
        return multiple(*(told.update for told in written))

    @rule(session=SESSIONS, photo=PHOTOS, time=TIMES)
    def upload(self, session: str, photo: str, time: int) -> None:
        """All of a photo's way at once, as on most days, with the replica a hint behind."""
        event = photo_event(session, photo, time)
        self.intake([event])
        for update in self._redeliver([event]):
            self.tell(update)
        self.search(session)
        self.catch_up()
        self.search(session)

    @rule(target=hints, batch=st.lists(events, min_size=1, max_size=4))
    def redeliver(self, batch: list[PhotoEvent]) -> Any:
        """Triage, then the work for what is left: the whole of ingest."""
        return multiple(*self._redeliver(batch))

    def _redeliver(self, batch: list[PhotoEvent]) -> list[IndexUpdate]:
        triaged = self.run(triage_photos(self.store, batch))
        left = [event for event, told in zip(batch, triaged, strict=True) if told is None]
        results = [result_of(event, time_of(event)) for event in left]
        written = self.run(save_photos(self.store, results, retry_hours=RETRY_HOURS))
        for event, result in zip(left, results, strict=True):
            self.model.save(*key(event), time_of(event), result, given=event.event.occurred_at_given)
        self.compare()
        return [told.update for told in (*triaged, *written) if told is not None]

    @rule(target=hints)
    def sweep(self) -> Any:
        """Everything that waits has become overdue."""
        self.run(
            self.bench.storage.execute(
                "UPDATE photo_results SET next_attempt_at = clock_timestamp() WHERE state = 'pending'"
            )
        )
        claimed = self.run(claim_overdue(self.store, 100))
        pending = {k for k, state in self.model.states().items() if state == "pending"}
        assert {key(event) for event in claimed} == pending
        results = [result_of(event, time_of(event)) for event in claimed]
        written = self.run(save_photos(self.store, results, retry_hours=RETRY_HOURS))
        for event, result in zip(claimed, results, strict=True):
            assert self.model.save(*key(event), time_of(event), result, given=event.event.occurred_at_given)
        self.compare()
        return multiple(*(told.update for told in written))

    @rule(target=hints, session=SESSIONS, photo=PHOTOS, time=TIMES, hinted=st.booleans())
    def delete_photo(self, session: str, photo: str, time: int, hinted: bool) -> IndexUpdate:
        told = self.run(delete_photo(self.store, SessionId(session), PhotoId(photo), at(time)))
        covered = time <= self.model.fences.get(session, -1)  # the session's deletion has fenced it already
        assert (told.effect is Effect.WRITTEN) == self.model.delete_photo(session, photo, time) or covered
        self.compare()
        if hinted:
            self.tell(told.update)
            self.search(session)
        return told.update

    @rule(target=hints, session=SESSIONS, time=TIMES, hinted=st.booleans())
    def delete_session(self, session: str, time: int, hinted: bool) -> IndexUpdate:
        told = self.run(delete_session(self.store, SessionId(session), at(time)))
        assert (told.effect is Effect.WRITTEN) == self.model.delete_session(session, time)
        self.compare()
        if hinted:
            self.tell(told.update)
            self.search(session)
        return told.update

    # the replica ----------------------------------------------------------------------------------------

    @rule(update=hints)
    def hint(self, update: IndexUpdate) -> None:
        """In any order, again, or never."""
        self.tell(update)

    def tell(self, update: IndexUpdate) -> None:
        """A deletion hides what it names, more than it removed perhaps, until the shard is at its revision."""
        self.shards.hint(update)
        if update.status in (UpdateStatus.DELETED, UpdateStatus.SESSION_DELETED):
            hidden = update.session_id, update.photo_id
            self.hides[hidden] = max(self.hides.get(hidden, 0), update.revision)

    @rule()
    def catch_up(self) -> None:
        self.run(self.shards.catch_up())

    @rule()
    def poll(self) -> None:
        self.run(self.replica.poll())
        for session in ("s", "t"):
            self.search(session, newest=True)

    @rule(session=SESSIONS, what=st.sampled_from(["evict", "evict", "restart"]))
    def forget(self, session: str, what: str) -> None:
        """The shard is dropped, as when the database has forgotten the session; or the process dies."""
        if what == "evict":
            self.shards.note({SessionId(session): 1 << 40}, {})
        else:
            self.start_replica()
        self.search(session)

    def start_replica(self) -> None:
        """A process that holds nothing takes the place of the one before."""
        self.shards = Shards(self.store, ShardSettings())
        self.replica = Replica(self.store, self.shards, LeaseSettings())
        self.run(self.replica.register())

    @rule(session=SESSIONS)
    def search(self, session: str, newest: bool = False) -> None:
        """An answer is the model's at its revision, less photos that a hint of a deletion hides."""
        try:
            answer = self.run(self.shards.search(SessionId(session), QUERY, threshold=0.0, limit=100))
        except PermanentError as error:
            assert error.code is ErrorCode.SESSION_NOT_FOUND
            return
        told = self.history.get((session, answer.revision), {})
        found = {match.photo_id: match.cosine for match in answer.matches}
        assert len(found) == len(answer.matches)
        now = self.model.faces(session)
        # the poll would drop, and so hide, a shard that has gone wrong
        assert mismatches() == self.mismatches
        if newest:
            assert set(found) == set(now), (answer, now)
        assert set(found) <= set(told), (answer, told)
        missing = set(told) - set(found)
        hidden = {p for p in told if max(self.hides.get((session, q), 0) for q in (p, None)) > answer.revision}
        assert missing <= hidden, (answer, told, now)
        for photo, cosine in found.items():
            assert abs(cosine - best_cosine(session, photo, told[photo])) < 2e-3

    # comparing ------------------------------------------------------------------------------------------

    def compare(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        rows = await self.bench.storage.rows("SELECT session_id, photo_id, state FROM photo_results")
        assert {(s, p): state for s, p, state in rows} == self.model.states()
        faces = await self.bench.storage.rows(
            "SELECT session_id, photo_id, occurred_at, count(*) FROM face_embeddings GROUP BY 1, 2, 3"
        )
        expected = {
            (s, p, at(time), 1 + (time * 5 + ord(p)) % 6 % 3)
            for s in ("s", "t")
            for p, time in self.model.faces(s).items()
        }
        assert set(faces) == expected
        await assert_ledger_is_exact(self.bench.storage)
        for session, revision in await self.bench.storage.rows(
            "SELECT session_id, revision FROM session_generations"
        ):
            now = self.model.faces(session)
            before = self.history.setdefault((session, revision), now)
            assert before == now, f"{session} changed without a new revision"

    async def _clear(self) -> None:
        await self.bench.storage.execute(
            "TRUNCATE sessions, photos, session_generations, photo_results, face_embeddings, replicas CASCADE"
        )

    def run(self, work: Any) -> Any:
        return self.bench.runner.run(work)

    @property
    def db(self) -> Any:
        return self.bench.storage.db

    @property
    def store(self) -> Any:
        return self.bench.storage.store


def mismatches() -> float:
    (family,) = shard_mismatches_total.collect()
    return float(family.samples[0].value)


def key(event: PhotoEvent) -> tuple[str, str]:
    return event.event.session_id, event.event.photo_id


def best_cosine(session: str, photo: str, time: int) -> float:
    """Of the faces that `ledger.outcome` gives the photo's event."""
    count = 1 + (time * 5 + ord(photo)) % 6 % 3
    vectors = [random_vector((session, photo, at(time), number)) for number in range(count)]
    assert vectors[0].shape == (SIZE,)
    return max(float(np.float32(vector) @ QUERY) for vector in vectors)


@pytest.fixture
def bench(database_settings: DatabaseSettings) -> Iterator[Bench]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        storage = runner.run(stack.enter_async_context(open_storage(database_settings)))
        try:
            yield Bench(runner, storage)
        finally:
            runner.run(stack.aclose())


@pytest.mark.timeout(600)
def test_doors_deltas_and_shards_keep_to_the_model(bench: Bench) -> None:
    class OnThisDatabase(Machine):
        pass

    OnThisDatabase.bench = bench
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        OnThisDatabase,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # a failure is made again by its seed; making it short takes minutes
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
        ),
    )
