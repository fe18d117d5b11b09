"""A shard by itself: what it finds, how it orders it, what it costs, and readers beside a writer."""

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.ledger import random_vector

from facepass.schemas.faces import Box
from facepass.schemas.ids import PhotoId
from facepass.schemas.similarity import cosine_from_similarity, similarity_from_cosine
from facepass.storage.shards.face_blocks import FACE_ROW, FaceBlock
from facepass.storage.shards.photo_ids import photo_ids_of
from facepass.storage.shards.shard import Delta, Match, Shard

OPERATING_POINT = 0.36
Faces = Mapping[str, list[NDArray[np.float32]]]


def delta(photos: Faces, *, since: int, revision: int, block_faces: int = 1000) -> Delta:
    """A delta that gives `photos` these faces (none: dropped), in blocks of a size."""
    ids = photo_ids_of(photos)
    order = {photo: place for place, photo in enumerate(sorted(photos))}
    rows = [(order[photo], number) for photo, vectors in photos.items() for number in range(len(vectors))]
    table = np.zeros(len(rows), FACE_ROW)
    table["photo"], table["face"] = np.array(rows, np.int32).reshape(-1, 2).T
    table["confidence"] = 1 - table["face"] / 10
    table["box"] = np.arange(4 * len(rows)).reshape(-1, 4)
    vectors = [vector for faces in photos.values() for vector in faces]
    codes = np.array(vectors, np.float16).view(np.uint8)
    starts = range(0, len(rows), block_faces)
    blocks = [FaceBlock(rows=table[i : i + block_faces], codes=codes[i : i + block_faces]) for i in starts]
    return Delta(since=since, revision=revision, photos=ids, blocks=blocks)


def shard_of(photos: Faces, *, size: int = 8, block_faces: int = 1000) -> Shard:
    shard = Shard(vector_size=size, operating_point=OPERATING_POINT)
    assert shard.apply(delta(photos, since=0, revision=1, block_faces=block_faces))
    return shard


def everything(shard: Shard, query: NDArray[np.float32], **more: object) -> list[Match]:
    return list(shard.search(query, threshold=0.0, limit=10**6, **more).matches)  # type: ignore[arg-type]


def people(*names: object) -> list[NDArray[np.float32]]:
    return [random_vector(name) for name in names]


def test_a_photo_is_found_by_its_best_face() -> None:
    query = random_vector("anna")
    shard = shard_of({"p": people("ben", "anna", "carl")})
    (match,) = everything(shard, query)
    assert match.photo_id == "p"
    assert match.cosine == pytest.approx(1.0, abs=1e-3)
    assert match.confidence == pytest.approx(0.9)
    assert match.box == Box(x=4, y=5, width=6, height=7)


def test_matches_are_ordered_limited_and_counted_before_the_limit() -> None:
    query = random_vector("anna")
    shard = shard_of({f"p{number}": people(number, -number - 1) for number in range(50)})
    ranking = shard.search(query, threshold=0.5, limit=7)
    cosines = [match.cosine for match in everything(shard, query)]
    assert cosines == sorted(cosines, reverse=True)
    assert [match.cosine for match in ranking.matches] == cosines[:7]
    assert ranking.total == sum(similarity_from_cosine(cosine, OPERATING_POINT) >= 0.5 for cosine in cosines)
    assert 7 < ranking.total < 50 == ranking.photos


def test_exact_ties_are_ordered_by_photo_id_whatever_came_first() -> None:
    ids = ["b", "a", "é", "Z", "a b", "aa", "photo-10", "photo-9", "\U0001f600", "﷐"]
    shard = shard_of({photo: people("anna") for photo in ids})
    assert [match.photo_id for match in everything(shard, random_vector("anna"))] == sorted(ids)


def test_of_equal_faces_of_a_photo_the_first_counts() -> None:
    for block_faces in (1, 2, 5):
        shard = shard_of({"a": people(1, "x", "x"), "b": people("x", "x")}, block_faces=block_faces)
        found = everything(shard, random_vector("x"))
        assert [(match.photo_id, match.confidence) for match in found] == [
            ("a", pytest.approx(0.9)),
            ("b", pytest.approx(1.0)),
        ]


@pytest.mark.parametrize("alike", [99, 100, 101, 799, 800, 801, 2500])
def test_everything_at_the_threshold_is_found_however_many(alike: int) -> None:
    """FAISS is asked for more until the last face falls below: no number of matches may be cut off."""
    query = random_vector("anna")
    photos = {f"p{number:05d}": [query] for number in range(alike)} | {"other": [-query]}
    ranking = shard_of(photos).search(query, threshold=0.9, limit=3)
    assert ranking.total == alike
    assert [match.photo_id for match in ranking.matches] == ["p00000", "p00001", "p00002"]


def test_a_cosine_is_clamped_and_then_a_tie() -> None:
    """Half precision makes products a little over 1; 1 + 1e-3 is no better a match than 1."""
    one, more = np.eye(8, dtype=np.float32)[0], np.float32(1.001) * np.eye(8, dtype=np.float32)[0]
    shard = shard_of({"b": [more], "a": [one]})
    assert [(m.photo_id, m.cosine) for m in everything(shard, one)] == [("a", 1.0), ("b", 1.0)]
    assert [m.cosine for m in everything(shard, -one)] == [-1.0, -1.0]


@given(st.sampled_from(np.arange(-1, 1.0001, 0.125).tolist()))
def test_a_face_exactly_at_the_threshold_is_found(cosine: float) -> None:
    """Values that half precision holds exactly, so that nothing but the comparison decides."""
    query = np.zeros(8, np.float32)
    query[0] = 1
    shard = Shard(vector_size=8, operating_point=0.25)
    face = query * np.float32(cosine)
    shard.apply(delta({"p": [face]}, since=0, revision=1))
    for nudge, expected in ((0.0, 1), (-1e-5, 1), (1e-5, 0)):
        threshold = similarity_from_cosine(cosine, 0.25) + nudge
        if 0 <= threshold <= 1:
            if nudge == 0.0 and cosine_from_similarity(threshold, 0.25) > cosine:
                continue  # the scale itself rounded up
            assert shard.search(query, threshold=threshold, limit=1).total == expected


def test_an_empty_shard_finds_nothing() -> None:
    ranking = Shard(vector_size=8, operating_point=0.36).search(random_vector(1), threshold=0.0, limit=10)
    assert (ranking.matches, ranking.total, ranking.photos, ranking.revision) == ([], 0, 0, 0)


# ---- deltas

REVISIONS = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.integers(0, 6), max_size=3), max_size=5), max_size=8
)


@given(REVISIONS, st.integers(1, 4))
def test_after_any_deltas_a_shard_equals_one_loaded_anew(
    steps: list[dict[str, list[int]]], block_faces: int
) -> None:
    shard = Shard(vector_size=8, operating_point=OPERATING_POINT)
    now: dict[str, list[NDArray[np.float32]]] = {}
    for revision, step in enumerate(steps, 1):
        changed = {photo: people(*names) for photo, names in step.items()}
        now |= changed
        assert shard.apply(delta(changed, since=revision - 1, revision=revision, block_faces=block_faces))
        fresh = shard_of({photo: faces for photo, faces in now.items() if faces})
        query = random_vector("query")
        assert _comparable(everything(shard, query)) == _comparable(everything(fresh, query))
        assert (shard.revision, shard.faces, shard.photos) == (revision, fresh.faces, fresh.photos)


def _comparable(matches: Iterable[Match]) -> list[tuple[object, ...]]:
    return [(match.photo_id, match.cosine, match.confidence) for match in matches]


@pytest.mark.parametrize(
    ("at", "since", "to", "fits"),
    [(5, 5, 6, True), (5, 3, 6, True), (5, 0, 9, True), (5, 6, 7, False), (5, 3, 5, False), (5, 1, 4, False)],
)
def test_a_delta_fits_revisions_from_its_first_to_below_its_last(at: int, since: int, to: int, fits: bool) -> None:
    shard = Shard(vector_size=8, operating_point=0.36, revision=at)
    assert shard.apply(delta({"p": people(1)}, since=since, revision=to)) is fits
    assert (shard.revision, shard.photos) == ((to, 1) if fits else (at, 0))


def test_hidden_photos_are_left_out_until_their_revision() -> None:
    shard = shard_of({"a": people("x"), "b": people("x"), "c": people("y")})
    hidden = {PhotoId("a"): 2, PhotoId("b"): 1, PhotoId("absent"): 9}
    ranking = shard.search(random_vector("x"), threshold=0.9, limit=10, hidden=hidden)
    assert ([match.photo_id for match in ranking.matches], ranking.total) == (["b"], 1)
    shard.apply(delta({"z": []}, since=1, revision=2))
    assert shard.search(random_vector("x"), threshold=0.9, limit=10, hidden=hidden).total == 2


# ---- memory, threads


@pytest.mark.parametrize(("size", "faces_each"), [(128, 1), (128, 2), (512, 1), (512, 2)])
def test_memory_of_a_face(size: int, faces_each: int) -> None:
    """At most 1.15 x 2 bytes a float + 64 bytes, with UUIDs as ids, after a load and after further deltas."""
    allowed = 1.15 * 2 * size + 64
    codes = np.zeros((faces_each, size), np.float32)
    photos = {f"{number:08x}-9f00-4f00-8f00-00112233{number:04x}": list(codes) for number in range(3000)}
    shard = Shard(vector_size=size, operating_point=0.36)
    ids = sorted(photos)
    for revision, first in enumerate([0, 2000, 2100, 2200, 2900], 1):
        batch = ids[first : {0: 2000, 2000: 2100, 2100: 2200, 2200: 2900, 2900: 3000}[first]]
        shard.apply(delta({photo: photos[photo] for photo in batch}, since=revision - 1, revision=revision))
        assert shard.nbytes / shard.faces <= allowed
    shard.apply(delta({photo: [] for photo in ids[:2500]}, since=5, revision=6))
    assert shard.nbytes / shard.faces <= allowed, "room of removed faces must be given back"
    assert shard.faces == 500 * faces_each


def test_openmp_threads_of_the_caller_stay_as_they_were() -> None:
    shard = shard_of({"a": people("x")})
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        shard.search(random_vector("x"), threshold=0.5, limit=1)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


def test_searches_beside_deltas_see_a_state_before_or_after_each() -> None:
    """Every revision gives every photo one face: that of the revision. Without the lock FAISS crashes here."""
    photos, size, revisions = [f"p{number:03d}" for number in range(400)], 64, 60
    turns = np.eye(size, dtype=np.float32)
    shard = Shard(vector_size=size, operating_point=0.36)
    shard.apply(delta({photo: [turns[1]] for photo in photos}, since=0, revision=1))
    stop = threading.Event()

    def keep_searching() -> int:
        searches = 0
        while not stop.is_set():
            query = np.arange(1, size + 1, dtype=np.float32) / 100
            ranking = shard.search(query, threshold=0.0, limit=10**6)
            expected = np.float32((ranking.revision % size + 1) / 100)
            assert ranking.total == len(photos)
            assert {np.float32(match.cosine) for match in ranking.matches} == {min(expected, np.float32(1))}
            searches += 1
        return searches

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(keep_searching) for _ in range(3)]
        for revision in range(2, revisions):
            changed = {photo: [turns[revision % size]] for photo in photos}
            shard.apply(delta(changed, since=revision - 1, revision=revision))
        stop.set()
        assert all(task.result(timeout=60) for task in running)
