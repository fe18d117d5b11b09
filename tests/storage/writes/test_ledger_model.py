"""Events in any order, duplicated, split into any batches, against a model of a few lines.

The model knows no order: a photo ends as the newest event that no fence covers made it.
"""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.ledger import Storage, all_rows, assert_ledger_is_exact, at, open_storage, outcome, photo_event

from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import Effect, PhotoState
from facepass.schemas.photo_events import PhotoOutcome
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.reads import read_counts
from facepass.storage.writes import (
    claim_overdue,
    delete_photo,
    delete_session,
    register_photos,
    save_photos,
    triage_photos,
)

SESSIONS = ("s", "t")
PHOTOS = ("a", "b")
RESULTS = (
    PhotoState.INDEXED,
    PhotoState.INDEXED,
    PhotoState.NO_FACE,
    PhotoState.FILTERED,
    PhotoState.FAILED,
)


@dataclass(frozen=True)
class Upload:
    session: str
    photo: str
    time: int


@dataclass(frozen=True)
class Removal:
    session: str
    photo: str | None
    time: int


def _result(upload: Upload) -> PhotoOutcome:
    """Depends on the upload alone, as a real photo's faces do."""
    event = photo_event(upload.session, upload.photo, upload.time)
    state = RESULTS[(upload.time * 7 + ord(upload.photo)) % len(RESULTS)]
    return outcome(event, state, faces=1 + upload.time % 3)


def _expected(
    uploads: list[Upload], removals: list[Removal]
) -> tuple[dict[tuple[str, str], PhotoState], set[tuple[str, str, int, datetime]]]:
    """What a clean run leaves: the state of each live photo, and all faces."""
    states: dict[tuple[str, str], PhotoState] = {}
    faces = set()
    for session, photo in {(upload.session, upload.photo) for upload in uploads}:
        fence = max((r.time for r in removals if r.session == session and r.photo in (None, photo)), default=-1)
        times = [u.time for u in uploads if (u.session, u.photo) == (session, photo) and u.time > fence]
        if times:
            newest = _result(Upload(session, photo, max(times)))
            states[session, photo] = newest.state
            stored = newest.found.faces if newest.found else ()
            faces |= {(session, photo, index, at(max(times))) for index in range(len(stored))}
    return states, faces


def _columns(row: str) -> list[str]:
    return row.strip("()").split(",")


_times = st.integers(0, 4)  # few, so that many are equal
_uploads = st.builds(Upload, st.sampled_from(SESSIONS), st.sampled_from(PHOTOS), _times)
_removals = st.builds(Removal, st.sampled_from(SESSIONS), st.sampled_from((None, *PHOTOS)), _times)


@pytest.fixture
async def storage(database_settings: DatabaseSettings) -> AsyncIterator[Storage]:
    async with open_storage(database_settings) as opened:
        yield opened


@dataclass
class Run:
    """One delivery of all events, checked after every step."""

    storage: Storage
    chance: random.Random
    rows: dict[str, list[str]] | None = None

    async def deliver(self, uploads: list[Upload], removals: list[Removal]) -> None:
        """Intake and ingest each see every upload at least once, some again; deletions come in between."""
        steps: list[tuple[str, Upload | Removal]] = [("remove", removal) for removal in removals]
        for upload in uploads:
            steps += [("register", upload), ("save", upload)]
            steps += self.chance.choices([("register", upload), ("save", upload), ("fail", upload)], k=2)
        steps += self.chance.sample(steps, k=len(steps) // 3)
        self.chance.shuffle(steps)
        while steps:
            size = self.chance.randint(1, 4)
            batch, steps = steps[:size], steps[size:]
            for kind in ("remove", "register", "save", "fail"):
                chosen = [step for name, step in batch if name == kind]
                if chosen:
                    await self.step(kind, chosen)
        await self.sweep()

    async def step(self, kind: str, events: list[Upload | Removal]) -> None:
        before = self.rows or await all_rows(self.storage)
        effects = await self.apply(kind, events)
        await assert_ledger_is_exact(self.storage)
        after = self.rows = await all_rows(self.storage)
        if Effect.WRITTEN not in effects:
            assert after == before, "an event that changes nothing changed a row"
        await self.check_stamps(before, after)
        if kind != "fail":
            again = await self.apply(kind, events)
            assert Effect.WRITTEN not in again
            assert await all_rows(self.storage) == after, "a redelivered event changed a row"

    async def apply(self, kind: str, events: list[Upload | Removal]) -> list[Effect]:
        store = self.storage.store
        if kind == "remove":
            return [await self.remove(event) for event in events if isinstance(event, Removal)]
        results = [_result(event) for event in events if isinstance(event, Upload)]
        photo_events = [result.photo for result in results]
        if kind == "register":
            return await register_photos(store, photo_events)
        if kind == "fail":
            results = [outcome(event, PhotoState.PENDING) for event in photo_events]
        triaged = await triage_photos(store, photo_events)
        written = await save_photos(store, results, retry_hours=24)
        for early, late in zip(triaged, written, strict=True):
            # only the effect: the message is about the row, which the same batch may have changed
            assert early is None or early.effect is late.effect
        return [entry.effect for entry in written]

    async def remove(self, removal: Removal) -> Effect:
        store = self.storage.store
        session = SessionId(removal.session)
        if removal.photo is None:
            return (await delete_session(store, session, at(removal.time))).effect
        return (await delete_photo(store, session, PhotoId(removal.photo), at(removal.time))).effect

    async def check_stamps(self, before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
        """A photo whose faces changed carries a revision new to its session: a delta finds it."""
        changed = set(before["face_embeddings"]) ^ set(after["face_embeddings"])
        photos = {tuple(_columns(row)[1:3]) for row in changed}
        old = {_columns(row)[1]: int(_columns(row)[2]) for row in before["session_generations"]}
        stamps = await self.storage.rows(
            "SELECT session_id, photo_id, r.revision, g.revision FROM photo_results AS r"
            " JOIN session_generations AS g USING (generation, session_id)"
        )
        assert photos <= {(session, photo) for session, photo, stamp, _ in stamps if stamp > old.get(session, 0)}
        assert all(stamp <= revision for _, _, stamp, revision in stamps)

    async def sweep(self) -> None:
        """Take up what is still pending after failures of the photo store."""
        await self.storage.execute(
            "UPDATE photo_results SET next_attempt_at = clock_timestamp() WHERE state = 'pending'"
        )
        self.rows = None
        claimed = await claim_overdue(self.storage.store, 100)
        uploads = [
            Upload(event.session_id, event.photo_id, int((event.occurred_at - at(0)).total_seconds()))
            for event in (photo.event for photo in claimed)
        ]
        if uploads:
            await self.step("save", list(uploads))


@pytest.mark.property(22)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would run the database for minutes
)
@given(
    uploads=st.lists(_uploads, min_size=3, max_size=7),
    removals=st.lists(_removals, min_size=1, max_size=3),
    chance=st.randoms(use_true_random=False),
)
async def test_invariants_1_and_2_and_property_22_hold_for_every_order_of_events(
    storage: Storage, uploads: list[Upload], removals: list[Removal], chance: random.Random
) -> None:
    await storage.execute("TRUNCATE face_embeddings, photo_results, photos, session_generations, sessions")
    await Run(storage, chance).deliver(uploads, removals)
    states, faces = _expected(uploads, removals)
    rows = await storage.rows("SELECT session_id, photo_id, state FROM photo_results WHERE state <> 'deleted'")
    assert {(session, photo): state for session, photo, state in rows} == states
    stored = await storage.rows("SELECT session_id, photo_id, face_index, occurred_at FROM face_embeddings")
    assert len(stored) == len(faces)
    assert set(stored) == faces
    for session in SESSIONS:
        counts = await read_counts(storage.store, SessionId(session))
        assert counts.pending == 0
        assert counts.present == sum(1 for key in states if key[0] == session)
