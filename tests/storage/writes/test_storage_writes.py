"""The write doors, one by one, on PostgreSQL."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.ledger import (
    SIZE,
    Storage,
    all_rows,
    assert_ledger_is_exact,
    at,
    face,
    open_storage,
    outcome,
    photo_event,
    random_vector,
)

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError
from facepass.schemas.events import PhotoIndexed, SessionUpdated, decode_event
from facepass.schemas.ids import PhotoId, SessionId, check_id
from facepass.schemas.ledger import Effect, PhotoState, UpdateStatus
from facepass.schemas.photo_events import PhotoOutcome
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.generations import open_store
from facepass.storage.reads import read_counts
from facepass.storage.writes import (
    Written,
    claim_overdue,
    delete_photo,
    delete_session,
    register_photos,
    save_photos,
    triage_photos,
    update_session,
)
from facepass.storage.writes.photos import in_lock_order

S, P = SessionId("s"), PhotoId("p")
EVENT = photo_event("s", "p", 10)


@pytest.fixture
async def storage(database_settings: DatabaseSettings) -> AsyncIterator[Storage]:
    async with open_storage(database_settings) as opened:
        yield opened


async def _save(storage: Storage, *outcomes: PhotoOutcome, retry_hours: float = 24) -> list[Written]:
    return await save_photos(storage.store, outcomes, retry_hours=retry_hours)


async def _states(storage: Storage) -> dict[tuple[str, str], str]:
    rows = await storage.rows("SELECT session_id, photo_id, state FROM photo_results")
    return {(session, photo): state for session, photo, state in rows}


async def _faces(storage: Storage) -> list[tuple[str, str, int]]:
    return await storage.rows("SELECT session_id, photo_id, face_index FROM face_embeddings ORDER BY 1, 2, 3")


async def test_a_photo_goes_from_registered_to_indexed(storage: Storage) -> None:
    store = storage.store
    assert await register_photos(store, [EVENT]) == [Effect.WRITTEN]
    counts = await read_counts(store, S)
    assert (counts.known, counts.pending, counts.revision, counts.last_indexed) == (True, 1, 0, None)
    assert await triage_photos(store, [EVENT]) == [None]
    (written,) = await _save(storage, outcome(EVENT, faces=2))
    update = written.update
    assert written.effect is Effect.WRITTEN
    assert (update.status, update.revision, update.faces_detected) == (UpdateStatus.INDEXED, 1, 3)
    assert (update.session_id, update.photo_id, update.occurred_at) == (S, P, EVENT.event.occurred_at)
    assert update.confidence == pytest.approx(0.95)
    counts = await read_counts(store, S)
    assert (counts.pending, counts.indexed, counts.photo_count, counts.face_count) == (0, 1, 1, 2)
    assert counts.last_indexed is not None
    assert await _faces(storage) == [("s", "p", 0), ("s", "p", 1)]
    assert await triage_photos(store, [EVENT]) == [Written(effect=Effect.DUPLICATE, update=update)]
    await assert_ledger_is_exact(storage)


async def test_what_is_stored_of_a_face_is_what_was_found(storage: Storage) -> None:
    vector = random_vector("stored")
    await _save(storage, outcome(EVENT, faces=[face(vector, confidence=0.5)]))
    (row,) = await storage.rows(
        "SELECT embedding::vector::real[], box_x, box_y, box_width, box_height, confidence, landmarks,"
        " quality_size, quality_sharpness, quality_yaw, quality_pitch, quality_roll, occurred_at, revision"
        " FROM face_embeddings"
    )
    assert np.array_equal(np.float32(row[0]), vector.astype(np.float16).astype(np.float32))
    assert row[1:6] == (1.5, -2.0, 30.25, 40.0, 0.5)
    assert row[6] == list(range(10))
    assert row[7:] == (30.25, 120.0, -10.0, 5.0, 1.0, EVENT.event.occurred_at, 1)
    ((left_out, etag, topic, partition, offset),) = await storage.rows(
        "SELECT left_out, etag, origin_topic, origin_partition, origin_offset FROM photo_results"
    )
    assert [entry["reason"] for entry in left_out] == ["blurred"]
    assert left_out[0]["box"] == [0.0, 0.0, 12.0, 14.0]
    assert etag is not None
    assert (topic, partition, offset) == ("photo-indexed", 3, 17)


@pytest.mark.parametrize("state", [PhotoState.NO_FACE, PhotoState.FILTERED, PhotoState.FAILED])
async def test_a_newer_result_without_faces_removes_the_older_ones(storage: Storage, state: PhotoState) -> None:
    await _save(storage, outcome(EVENT, faces=2))
    (written,) = await _save(storage, outcome(photo_event("s", "p", 11), state))
    assert (written.effect, written.update.status, written.update.revision) == (Effect.WRITTEN, state, 2)
    assert await _faces(storage) == []
    await assert_ledger_is_exact(storage)


async def test_while_a_newer_event_is_pending_the_older_faces_stay(storage: Storage) -> None:
    newer = photo_event("s", "p", 11)
    await _save(storage, outcome(EVENT, faces=2))
    assert await register_photos(storage.store, [newer]) == [Effect.WRITTEN]
    (written,) = await _save(storage, outcome(newer, PhotoState.PENDING))
    assert written.update.status is UpdateStatus.PENDING
    assert written.update.code is ErrorCode.STORE_UNAVAILABLE
    counts = await read_counts(storage.store, S)
    assert (counts.pending, counts.indexed, counts.photo_count, counts.face_count) == (1, 0, 1, 2)
    assert counts.revision == 1
    assert await storage.rows("SELECT DISTINCT occurred_at, revision FROM face_embeddings") == [(at(10), 1)]
    assert await storage.rows("SELECT revision, etag IS NOT NULL, left_out IS NOT NULL FROM photo_results") == [
        (1, True, True)
    ]
    await assert_ledger_is_exact(storage)


async def test_a_deletion_removes_old_faces_of_a_photo_that_waits_for_a_newer_event(storage: Storage) -> None:
    await _save(storage, outcome(EVENT, faces=2), outcome(photo_event("s", "other", 12)))
    await register_photos(storage.store, [photo_event("s", "p", 11)])
    deletion = await delete_session(storage.store, S, at(10))
    assert (deletion.faces_removed, deletion.photos_removed, deletion.update.revision) == (2, 0, 2)
    assert await _states(storage) == {("s", "p"): "pending", ("s", "other"): "indexed"}
    assert await _faces(storage) == [("s", "other", 0)]
    # a delta from before the deletion finds the photo
    assert await storage.rows("SELECT photo_id FROM photo_results WHERE revision > 1") == [("p",)]
    await assert_ledger_is_exact(storage)


async def test_deleting_a_session_leaves_fence_rows_without_what_was_known(storage: Storage) -> None:
    await update_session(
        storage.db, SessionUpdated(session_id=S, name="Wedding", studio_id="7", occurred_at=at(1).isoformat())
    )
    await _save(storage, outcome(EVENT, faces=2), outcome(photo_event("s", "newer", 20)))
    deletion = await delete_session(storage.store, S, at(15))
    assert (deletion.effect, deletion.faces_removed, deletion.photos_removed) == (Effect.WRITTEN, 2, 1)
    assert (deletion.update.status, deletion.update.revision) == (UpdateStatus.SESSION_DELETED, 2)
    assert await storage.rows("SELECT name, studio_id, facepass_enabled, deleted_at FROM sessions") == [
        (None, None, None, at(15))
    ]
    assert await storage.rows("SELECT photo_id, s3_key, occurred_at, deleted_at FROM photos ORDER BY 1") == [
        ("newer", "photos/20.jpg", at(20), None),
        ("p", None, at(10), at(15)),
    ]
    assert await storage.rows(
        "SELECT state, origin_topic, etag, left_out, error, confidence FROM photo_results WHERE photo_id = 'p'"
    ) == [("deleted", None, None, None, None, None)]
    await assert_ledger_is_exact(storage)


@pytest.mark.parametrize("seconds", [9, 10])
async def test_a_fence_comes_first_and_stops_what_is_not_newer(storage: Storage, seconds: float) -> None:
    store = storage.store
    await delete_session(store, S, at(10))
    await delete_photo(store, SessionId("t"), P, at(10))
    events = [photo_event(session, "p", seconds) for session in ("s", "t")]
    before = await all_rows(storage)
    assert await register_photos(store, events) == [Effect.FENCED] * 2
    for written in [*await triage_photos(store, events), *await _save(storage, *map(outcome, events))]:
        assert written is not None
        assert (written.effect, written.update.status) == (Effect.FENCED, UpdateStatus.FENCED)
        assert written.update.code is ErrorCode.FENCED
    assert await all_rows(storage) == before
    newer = [photo_event(session, "p", 11) for session in ("s", "t")]
    assert await register_photos(store, newer) == [Effect.WRITTEN] * 2
    assert [written.effect for written in await _save(storage, *map(outcome, newer))] == [Effect.WRITTEN] * 2
    assert len(await _faces(storage)) == 2
    await assert_ledger_is_exact(storage)


async def test_an_event_without_a_time_of_its_own_never_passes_a_fence(storage: Storage) -> None:
    await delete_photo(storage.store, S, P, at(10))
    event = photo_event("s", "p", 99, given=False)
    assert await register_photos(storage.store, [event]) == [Effect.FENCED]
    (written,) = await _save(storage, outcome(event))
    assert written.update.code is ErrorCode.OCCURRED_AT_REQUIRED
    assert await _faces(storage) == []


async def test_fences_only_rise_and_a_repeated_deletion_changes_nothing(storage: Storage) -> None:
    store = storage.store
    await _save(storage, outcome(EVENT))
    first = await delete_photo(store, S, P, at(15))
    assert (first.effect, first.photos_removed, first.update.status) == (Effect.WRITTEN, 1, UpdateStatus.DELETED)
    before = await all_rows(storage)
    for seconds in (15, 3):
        again = await delete_photo(store, S, P, at(seconds))
        assert (again.effect, again.update.revision) == (Effect.DUPLICATE, first.update.revision)
    assert await all_rows(storage) == before
    await delete_session(store, S, at(20))
    before = await all_rows(storage)
    assert (await delete_session(store, S, at(19))).effect is Effect.DUPLICATE
    assert await all_rows(storage) == before


async def test_deleting_a_photo_never_seen_is_counted_once(storage: Storage) -> None:
    for seconds in (5, 6):
        deletion = await delete_photo(storage.store, S, P, at(seconds))
        assert (deletion.effect, deletion.photos_removed) == (Effect.WRITTEN, 0)
    assert (await read_counts(storage.store, S)).deleted == 1
    await assert_ledger_is_exact(storage)


async def test_a_deletion_reaches_every_generation(storage: Storage) -> None:
    await _save(storage, outcome(EVENT, faces=2))
    await storage.execute("UPDATE generations SET state = 'retired'")
    second = await open_store(storage.db, replace(storage.generation.spec, fingerprint={"detector": "new"}))
    both = Storage(second)
    await _save(both, outcome(EVENT, faces=3))
    await assert_ledger_is_exact(both)
    deletion = await delete_session(second, S, at(10))
    assert deletion.faces_removed == 3
    assert await _faces(storage) == []
    assert await storage.rows("SELECT DISTINCT revision, deleted FROM session_generations") == [(2, 1)]
    await assert_ledger_is_exact(both)


async def test_one_batch_with_several_sessions_and_repeated_photos(storage: Storage) -> None:
    batch = [
        outcome(photo_event("b", "1", 5)),
        outcome(photo_event("a", "1", 5), faces=3),
        outcome(photo_event("b", "1", 4)),
        outcome(photo_event("b", "1", 5)),
        outcome(photo_event("b", "1", 6), faces=2),
        outcome(photo_event("a", "2", 5), PhotoState.NO_FACE),
        outcome(photo_event("a", "1", 6), PhotoState.PENDING),
    ]
    written = await _save(storage, *batch)
    assert [entry.effect for entry in written] == [
        Effect.WRITTEN,
        Effect.WRITTEN,
        Effect.DUPLICATE,
        Effect.DUPLICATE,
        Effect.WRITTEN,
        Effect.WRITTEN,
        Effect.WRITTEN,
    ]
    assert [entry.update.photo_id for entry in written] == [entry.photo.event.photo_id for entry in batch]
    assert {entry.update.revision for entry in written} == {1}
    assert await _faces(storage) == [*(("a", "1", n) for n in range(3)), ("b", "1", 0), ("b", "1", 1)]
    assert await storage.rows("SELECT etag IS NOT NULL FROM photo_results WHERE state = 'pending'") == [(True,)]
    await assert_ledger_is_exact(storage)


async def test_registering_a_batch_with_repeated_photos(storage: Storage) -> None:
    events = [photo_event("s", "p", seconds) for seconds in (5, 4, 5, 6)] + [photo_event("s", "q", 1)]
    effects = await register_photos(storage.store, events)
    assert effects == [Effect.WRITTEN, Effect.DUPLICATE, Effect.DUPLICATE, Effect.WRITTEN, Effect.WRITTEN]
    assert await storage.rows("SELECT occurred_at FROM photos ORDER BY 1") == [(at(1),), (at(6),)]
    await assert_ledger_is_exact(storage)


async def test_empty_batches(storage: Storage) -> None:
    assert await register_photos(storage.store, []) == []
    assert await triage_photos(storage.store, []) == []
    assert await _save(storage) == []


async def test_a_redelivered_event_of_a_failed_photo_never_leaves_it_pending(storage: Storage) -> None:
    await _save(storage, outcome(EVENT, PhotoState.FAILED))
    before = await all_rows(storage)
    assert await register_photos(storage.store, [EVENT]) == [Effect.DUPLICATE]
    assert await triage_photos(storage.store, [EVENT]) == [None]
    for again in (PhotoState.PENDING, PhotoState.FAILED):
        (written,) = await _save(storage, outcome(EVENT, again))
        assert (written.effect, written.update.status) == (Effect.DUPLICATE, UpdateStatus.FAILED)
        assert written.update.code is ErrorCode.DAMAGED_IMAGE
    assert await all_rows(storage) == before
    (written,) = await _save(storage, outcome(EVENT))
    assert written.update.status is UpdateStatus.INDEXED
    await assert_ledger_is_exact(storage)


async def test_the_sweep_claims_what_is_overdue_once_and_ends_it_after_the_retry_hours(storage: Storage) -> None:
    store = storage.store
    await _save(storage, outcome(EVENT, PhotoState.PENDING))
    await register_photos(store, [photo_event("s", "registered", 1)])
    assert await claim_overdue(store, 10) == []
    await storage.execute("UPDATE photo_results SET next_attempt_at = next_attempt_at - interval '2 hours'")
    claimed = await claim_overdue(store, 10)
    assert sorted(claimed, key=lambda photo: photo.event.photo_id) == [EVENT, photo_event("s", "registered", 1)]
    assert await claim_overdue(store, 10) == []
    (written,) = await _save(storage, outcome(EVENT, PhotoState.PENDING))
    assert written.update.status is UpdateStatus.PENDING
    await storage.execute("UPDATE photo_results SET first_failed_at = first_failed_at - interval '25 hours'")
    (written,) = await _save(storage, outcome(EVENT, PhotoState.PENDING))
    assert (written.update.status, written.update.code) == (UpdateStatus.FAILED, ErrorCode.STORE_UNAVAILABLE)
    await assert_ledger_is_exact(storage)


async def test_a_claim_skips_what_is_being_written_and_what_is_limited(storage: Storage) -> None:
    store = storage.store
    await register_photos(store, [photo_event("s", name) for name in "abcd"])
    await storage.execute("UPDATE photo_results SET next_attempt_at = clock_timestamp()")
    async with storage.db.transaction() as connection:
        await connection.execute("SELECT 1 FROM photo_results WHERE photo_id = 'b' FOR UPDATE")
        first = await claim_overdue(store, 2)
        second = await claim_overdue(store, 2)
    assert len(first) == 2
    assert {photo.event.photo_id for photo in first + second} == {"a", "c", "d"}
    assert [photo.event.photo_id for photo in await claim_overdue(store, 2)] == ["b"]


async def test_session_updates(storage: Storage) -> None:
    def updated(seconds: float, name: str, *, given: bool = True) -> SessionUpdated:
        return SessionUpdated(
            session_id=S, name=name, occurred_at=at(seconds).isoformat(), occurred_at_given=given
        )

    async def names() -> list[tuple[str | None]]:
        return await storage.rows("SELECT name FROM sessions")

    assert await update_session(storage.db, updated(5, "five")) is Effect.WRITTEN
    assert await update_session(storage.db, updated(4, "four")) is Effect.DUPLICATE
    assert await update_session(storage.db, updated(5, "five again")) is Effect.DUPLICATE
    assert await names() == [("five",)]
    assert (await read_counts(storage.store, S)).facepass_enabled is True
    await delete_session(storage.store, S, at(4))
    assert await names() == [("five",)]
    await delete_session(storage.store, S, at(6))
    assert await names() == [(None,)]
    assert (await read_counts(storage.store, S)).facepass_enabled is None
    assert await update_session(storage.db, updated(6, "six")) is Effect.FENCED
    assert await update_session(storage.db, updated(9, "nine", given=False)) is Effect.FENCED
    assert await names() == [(None,)]
    assert await update_session(storage.db, updated(7, "seven")) is Effect.WRITTEN
    assert await names() == [("seven",)]


async def test_counts_of_an_unknown_session(storage: Storage) -> None:
    counts = await read_counts(storage.store, SessionId("nobody"))
    assert (counts.known, counts.present, counts.face_count, counts.revision) == (False, 0, 0, 0)


@pytest.mark.property(22)
async def test_property_22_a_newer_event_of_the_same_photo_changes_times_origin_attempts_and_revisions(
    storage: Storage,
) -> None:
    def result(seconds: float) -> PhotoOutcome:
        photo = photo_event("s", "p", seconds, s3_key="photos/p.jpg")
        return replace(outcome(photo, faces=[face(random_vector("same"))]), etag="e")

    async def compared() -> list[list[tuple[object, ...]]]:
        return [
            await storage.rows("SELECT session_id, photo_id, s3_key, deleted_at FROM photos"),
            await storage.rows(
                "SELECT session_id, photo_id, state, faces_stored, faces_detected, confidence, error,"
                " first_failed_at, next_attempt_at, etag, left_out::text FROM photo_results"
            ),
            await storage.rows(
                "SELECT photo_id, face_index, embedding::text, box_x, box_y, box_width, box_height, landmarks,"
                " confidence, quality_size, quality_sharpness, quality_yaw, quality_pitch, quality_roll"
                " FROM face_embeddings"
            ),
        ]

    await _save(storage, result(10))
    before = await compared()
    for seconds in (11, 12):
        newer = result(seconds)
        assert await register_photos(storage.store, [newer.photo]) == [Effect.WRITTEN]
        await _save(storage, newer)
    assert await compared() == before


HOSTILE = [
    "'; DROP TABLE sessions; --",
    'quo"te',
    "back\\slash\\N\\.",
    "{braces} %(photo)s %s",
    "\x01\x1f\x7f\n\r\t",
    "\u202eright to left\u200f",
    "NULL",
    "{}",
    "📸" * 255,
    "é" * 255,
    " ",
    "0",
    "\U0010ffff",
    "\uffff",
]


@pytest.mark.property(15)
async def test_property_15_hostile_ids_are_data(storage: Storage) -> None:
    store = storage.store
    events = [photo_event(text, text[::-1], 10, s3_key=text) for text in HOSTILE]
    assert set(await register_photos(store, events)) == {Effect.WRITTEN}
    assert await triage_photos(store, events) == [None] * len(events)
    await _save(storage, *map(outcome, events))
    stored = await storage.rows("SELECT session_id, photo_id, s3_key FROM photos")
    assert set(stored) == {(one.event.session_id, one.event.photo_id, one.event.s3_key) for one in events}
    assert {row[:2] for row in await _faces(storage)} == {row[:2] for row in stored}
    for event in (one.event for one in events):
        assert (await read_counts(store, event.session_id)).indexed == 1
        assert (await delete_photo(store, event.session_id, event.photo_id, at(10))).faces_removed == 1
        await delete_session(store, event.session_id, at(10))
    assert await _faces(storage) == []
    await assert_ledger_is_exact(storage)
    for refused in ("", "x" * 256, "a\x00b", "\ud800"):
        with pytest.raises(PermanentError):
            check_id(refused, "photo_id")


async def test_python_sorts_ids_as_postgresql_locks_them(storage: Storage) -> None:
    keys = [(SessionId(a), PhotoId(b)) for a in HOSTILE for b in HOSTILE]
    rows = await storage.rows(
        'SELECT * FROM unnest(%(a)s::text[], %(b)s::text[]) AS k (a, b) ORDER BY a COLLATE "C", b COLLATE "C"',
        a=[a for a, _ in keys],
        b=[b for _, b in keys],
    )
    assert rows == in_lock_order(keys)


_ids = st.one_of(
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=255),
    st.uuids().map(str),
    st.integers(),
    st.builds("{}-{}".format, st.integers(0, 2**41), st.uuids().map(lambda value: value.hex)),
)


@pytest.mark.property(3)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(session=_ids, photo=_ids)
async def test_property_3b_every_id_is_stored_and_found(
    storage: Storage, session: str | int, photo: str | int
) -> None:
    record = json.dumps(
        {"session_id": session, "photo_id": photo, "s3_key": "k", "occurred_at": at(5).isoformat()}
    )
    decoded = decode_event(PhotoIndexed, record.encode(), recorded_at=at(5))
    event = photo_event(decoded.session_id, decoded.photo_id, 5)
    await register_photos(storage.store, [event])
    (written,) = await _save(storage, outcome(event))
    assert (written.update.session_id, written.update.photo_id) == (str(session), str(photo))
    found = await storage.rows(
        "SELECT state FROM photo_results WHERE session_id = %(s)s AND photo_id = %(p)s",
        s=str(session),
        p=str(photo),
    )
    assert found == [("indexed",)]


_vectors = st.lists(st.floats(-1, 1, width=32), min_size=SIZE, max_size=SIZE).filter(
    lambda values: float(np.linalg.norm(np.float64(values))) > 1e-3
)


@pytest.mark.property(7)
@pytest.mark.property(18)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(_vectors, min_size=1, max_size=20))
async def test_property_7_and_18_stored_vectors_are_whole_finite_and_normalised(
    storage: Storage, values: list[list[float]]
) -> None:
    vectors = [(np.float64(value) / np.linalg.norm(np.float64(value))).astype(np.float32) for value in values]
    await storage.execute("TRUNCATE face_embeddings, photo_results, photos, session_generations, sessions")
    await _save(storage, outcome(EVENT, faces=[face(vector) for vector in vectors]))
    rows = await storage.rows("SELECT embedding::vector::real[] FROM face_embeddings ORDER BY face_index")
    stored = np.float64([row[0] for row in rows])
    assert stored.shape == (len(vectors), SIZE)
    assert np.isfinite(stored).all()
    assert np.abs(np.linalg.norm(stored, axis=1) - 1).max() < 1e-3


@pytest.mark.property(18)
@pytest.mark.parametrize("factor", [0.5, 1.01, float("nan"), 0.0])
async def test_property_18_a_vector_that_is_not_normalised_is_refused(storage: Storage, factor: float) -> None:
    wrong = outcome(
        EVENT, faces=[face(random_vector("x")), face((random_vector("y") * factor).astype(np.float32))]
    )
    with pytest.raises(FacePassError) as caught:
        await _save(storage, wrong)
    assert caught.value.code is ErrorCode.INTERNAL
    assert await storage.rows("SELECT 1 FROM photos") == []
