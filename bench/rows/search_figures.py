"""Searching over HTTP: the real serving process, idle and while ingest takes all that the machine has left."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.client import SearchClient
from bench.crowd import FACES_EACH, fill_session, random_faces
from bench.photo_sets import make_selfie
from bench.row import Goal, Row, at_most, below
from bench.site import Site
from bench.sizes import Sizes
from bench.timing import Percentiles, in_turns, percentiles, timed
from facepass.embedding import FaceEngine
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.faces import Embedding
from facepass.schemas.ids import SessionId
from facepass.schemas.settings import SearchSettings
from facepass.storage import open_database, open_store
from facepass.streams.kafka import open_publisher

_SESSION = SessionId("party")
_BACKLOG = SessionId("backlog")

_NEIGHBOURS = 100

_CHECK_EVERY = 10
"""Searches under load between two looks whether ingest still has work."""


def search_rows(site: Site, sizes: Sizes) -> Iterator[Row]:
    """Measure one session of `sizes.session_photos` photos, which a selfie is searched in."""
    selfie = make_selfie()
    person = largest_face(site.engine, selfie)
    vectors = random_faces(sizes.session_photos * FACES_EACH, person, seed=1)
    asyncio.run(_fill(site, vectors))
    client, bare = SearchClient(site.port, selfie, _SESSION), Bare(site.engine, selfie, vectors)
    with closing(client):
        matches = int(json.loads(client.search())["total_matches"])
        idle, bare_times = in_turns(client.search, bare.search, rounds=sizes.searches, warm_up=3)
        yield from _idle_rows(percentiles(idle), percentiles(bare_times), matches, site.engine, sizes)
        loaded, enough = asyncio.run(_search_under_load(site, sizes, client))
    yield from _load_rows(percentiles(loaded), percentiles(idle), len(loaded), enough=enough)


class Bare:
    """The same selfie decoded, its face detected and embedded, the nearest vectors found; no HTTP, no database."""

    def __init__(self, engine: FaceEngine, selfie: bytes, vectors: NDArray[np.float32]) -> None:
        self._engine, self._selfie = engine, selfie
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)
        faiss.omp_set_num_threads(1)

    def search(self) -> None:
        """Analyse the selfie and search the index, once."""
        person = largest_face(self._engine, self._selfie)
        self._index.search(person.reshape(1, -1), _NEIGHBOURS)


def largest_face(engine: FaceEngine, selfie: bytes) -> Embedding:
    """The face that a search looks for."""
    limits = SearchSettings()
    found = engine.analyse_selfie(selfie, max_bytes=limits.selfie_max_bytes, max_pixels=limits.selfie_max_pixels)
    if found.largest is None:
        raise PermanentError(ErrorCode.NO_FACE, "no face was found in the benchmark's own selfie")
    return found.largest.embedding


async def _fill(site: Site, vectors: NDArray[np.float32]) -> None:
    async with open_database(site.stack.database) as db:
        await fill_session(await open_store(db, site.engine.spec), _SESSION, vectors)


async def _search_under_load(site: Site, sizes: Sizes, client: SearchClient) -> tuple[list[float], bool]:
    """Seconds of searches made while ingest had work; False when it ran out before there were enough."""
    times: list[float] = []
    async with open_database(site.stack.database) as db, open_publisher(site.stack.kafka) as publisher:
        store = await open_store(db, site.engine.spec)
        await publisher.publish_all(site.events(_BACKLOG, sizes.backlog))
        await site.settled(store, _BACKLOG, 1)
        client.reconnect()
        while len(times) < sizes.searches:
            times += [timed(client.search) for _ in range(min(_CHECK_EVERY, sizes.searches - len(times)))]
            counts = await site.settled(store, _BACKLOG, 1)
            if counts.present - counts.pending == sizes.backlog:
                return times, False
    return times, True


def _idle_rows(
    ours: Percentiles, bare: Percentiles, matches: int, engine: FaceEngine, sizes: Sizes
) -> Iterator[Row]:
    note = (
        "bare: the same selfie (1200 x 1600) decoded, detected and embedded by the same engine"
        f" ({engine.runtime}, one thread) and searched by faiss IndexFlatIP, k={_NEIGHBOURS}, in one process;"
        f" ours over HTTP on a kept connection, {matches} photos found; {sizes.searches} searches each"
    )
    goals: dict[str, Goal | None] = {"p50": at_most(1.1, plus=3, unit="ms"), "p95": below(500, "ms"), "p99": None}
    for name, goal in goals.items():
        yield Row(
            name=f"search over HTTP, session of {sizes.session_photos:,} photos, {name}",
            # `name` is a field of `Percentiles`: p50, p95 or p99.
            ours=1e3 * getattr(ours, name),
            bare=1e3 * getattr(bare, name),
            unit="ms",
            goal=goal,
            note=note,
        )


def _load_rows(loaded: Percentiles, idle: Percentiles, searches: int, *, enough: bool) -> Iterator[Row]:
    note = f"bare: the same searches on the idle machine; {searches} searches while ingest had work"
    if not enough:
        note += ", which ran out early"
    for name in ("p50", "p95", "p99"):
        yield Row(
            name=f"search over HTTP while ingest saturates the machine, {name}",
            ours=1e3 * getattr(loaded, name),
            bare=1e3 * getattr(idle, name),
            unit="ms",
            note=note,
        )
