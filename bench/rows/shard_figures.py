"""Shards alone: searching, loading from PostgreSQL, and what a face costs in memory."""

import asyncio
import ctypes
import gc
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import faiss
import numpy as np
import psutil
import psycopg
from numpy.typing import NDArray
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from bench.crowd import fill_session, random_faces
from bench.row import Row, at_least, at_most, rate_within
from bench.sizes import Sizes
from bench.timing import timed
from facepass.local import DATABASE, embedded_postgres
from facepass.schemas.faces import Embedding, GenerationSpec
from facepass.schemas.ids import SessionId
from facepass.schemas.settings import DatabaseSettings, ShardSettings
from facepass.schemas.similarity import DEFAULT_THRESHOLD
from facepass.storage import Generation, Store, open_database, open_store
from facepass.storage.migrations import migrate
from facepass.storage.reads import read_ledgers
from facepass.storage.shards import Ranking, Shard, ShardAnswer, Shards, read_delta

NEIGHBOURS = 100
"""What bare asks of FAISS."""

_LIMIT = 1000
"""Photos in an answer: the API's default."""

_OPERATING_POINT = 0.363
"""SFace's, as its authors measured it; only the share of faces above the threshold depends on it."""

_LARGE = (10_000, 512)
"""Faces and floats from which a search must keep up with bare; below that, fixed costs weigh more."""


_TURN = 10
"""Searches of ours, then as many of bare's."""

_FACES = """
COPY (
    SELECT 0::integer, confidence, box_x, box_y, box_width, box_height, embedding
    FROM face_embeddings WHERE generation = %s AND session_id = %s
) TO STDOUT (FORMAT BINARY)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """A session in the database and the same vectors here.

    Attributes:
        vectors: shape (faces, floats).
        person: who is searched for.
    """

    session_id: SessionId
    vectors: NDArray[np.float32]
    person: Embedding


def shard_rows(directory: Path, sizes: Sizes) -> Iterator[Row]:
    """Measure shards of all sizes, on a PostgreSQL with its data in `directory`, one database a vector size."""
    with embedded_postgres(directory / "postgres", log=directory / "postgres.log") as uri:
        for floats in sizes.vector_sizes:
            settings = _new_database(uri, f"bench_{floats}")
            crowds = [_crowd(faces, floats) for faces in sizes.shard_faces]
            asyncio.run(_fill(settings, crowds))
            for crowd in crowds:
                yield asyncio.run(_search_row(settings, crowd, sizes))
            for crowd in crowds:
                yield asyncio.run(_load_row(settings, crowd, sizes))
            yield _memory_row(settings, crowds[0], crowds[-1])


def _new_database(server: str, name: str) -> DatabaseSettings:
    """Another database on the server, migrated and empty."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    settings = DatabaseSettings(database=SecretStr(server.replace(f"/{DATABASE}?", f"/{name}?")))
    migrate(settings)
    return settings


def _crowd(faces: int, floats: int) -> Crowd:
    person = np.random.default_rng(floats).standard_normal(floats, np.float32)
    person /= np.linalg.norm(person)
    vectors = random_faces(faces, person, seed=faces)
    return Crowd(session_id=SessionId(f"crowd-{faces}"), vectors=vectors, person=person)


def _spec(floats: int) -> GenerationSpec:
    return GenerationSpec(
        pack="made-up", vector_size=floats, operating_point=_OPERATING_POINT, fingerprint={"pack": "made-up"}
    )


@asynccontextmanager
async def _opened(settings: DatabaseSettings, floats: int) -> AsyncIterator[Store]:
    async with open_database(settings) as db:
        yield await open_store(db, _spec(floats))


@asynccontextmanager
async def _shards(store: Store) -> AsyncIterator[Shards]:
    """Shards that hold nothing yet."""
    shards = Shards(store, ShardSettings())
    try:
        yield shards
    finally:
        await shards.close()


async def _timed(work: Awaitable[object]) -> float:
    began = perf_counter()
    await work
    return perf_counter() - began


async def _fill(settings: DatabaseSettings, crowds: list[Crowd]) -> None:
    async with _opened(settings, crowds[0].person.size) as store:
        for crowd in crowds:
            await fill_session(store, crowd.session_id, crowd.vectors)
    with psycopg.connect(settings.database.get_secret_value(), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


async def _search_row(settings: DatabaseSettings, crowd: Crowd, sizes: Sizes) -> Row:
    """Query vector to ranked photos, beside query vector to the nearest 100 rows; in turns of several searches,
    so that each finds the processor's caches as a busy server's."""
    faces, floats = crowd.vectors.shape
    flat = faiss.IndexFlatIP(floats)
    flat.add(crowd.vectors)
    query = crowd.person.reshape(1, -1)
    faiss.omp_set_num_threads(1)
    ours: list[float] = []
    served: list[float] = []
    bare: list[float] = []
    async with _opened(settings, floats) as store, _shards(store) as shards:
        shard = await _load(store, crowd.session_id)
        found = (await _search(shards, crowd)).total
        for _ in range(sizes.shard_searches // _TURN):
            ours += [timed(lambda: _search_alone(shard, crowd)) for _ in range(_TURN)]
            bare += [timed(lambda: flat.search(query, NEIGHBOURS)) for _ in range(_TURN)]
            served += [await _timed(_search(shards, crowd)) for _ in range(_TURN)]
    mine, theirs, through = (1e3 * statistics.median(times) for times in (ours, bare, served))
    return Row(
        name=f"shard search, {faces:,} faces x {floats}",
        ours=1e3 / mine,
        bare=1e3 / theirs,
        unit="searches/s",
        goal=at_least(0.9) if faces * floats >= _LARGE[0] * _LARGE[1] else rate_within(0.15),
        note=(
            f"bare: faiss IndexFlatIP.search (fp32), k={NEIGHBOURS}, one thread, row numbers only; ours from query"
            f" vector to {found} ranked photos, in the calling thread; medians {mine:.3f} ms against {theirs:.3f}"
            f" ms, and {through:.3f} ms as the API calls it, through event loop and thread"
        ),
    )


async def _load(store: Store, session_id: SessionId) -> Shard:
    """The session's shard by itself, without the event loop and threads around it."""
    generation, spec = store.generation, store.generation.spec
    async with store.database.transaction(snapshot=True) as connection:
        ledgers = await read_ledgers(connection, generation, [session_id])
        revision = ledgers[session_id].revision
        delta = await read_delta(connection, generation, session_id, since=0, revision=revision)
    shard = Shard(vector_size=spec.vector_size, operating_point=spec.operating_point)
    shard.apply(delta)
    return shard


def _search_alone(shard: Shard, crowd: Crowd) -> Ranking:
    return shard.search(crowd.person, threshold=DEFAULT_THRESHOLD, limit=_LIMIT)


async def _search(shards: Shards, crowd: Crowd) -> ShardAnswer:
    return await shards.search(crowd.session_id, crowd.person, threshold=DEFAULT_THRESHOLD, limit=_LIMIT)


async def _load_row(settings: DatabaseSettings, crowd: Crowd, sizes: Sizes) -> Row:
    """The first search in a session, beside draining its rows and adding its vectors."""
    faces, floats = crowd.vectors.shape
    ours: list[float] = []
    bare: list[float] = []
    async with _opened(settings, floats) as store:
        with psycopg.connect(settings.database.get_secret_value(), autocommit=True) as connection:
            for _ in range(sizes.loads + 1):
                async with _shards(store) as shards:
                    ours.append(await _timed(_search(shards, crowd)))
                bare.append(timed(lambda: drain_and_add(connection, store.generation, crowd)))
    mine, theirs = statistics.median(ours[1:]), statistics.median(bare[1:])
    return Row(
        name=f"cold load, {faces:,} faces x {floats}",
        ours=faces / mine,
        bare=faces / theirs,
        unit="faces/s",
        goal=at_least(0.7),
        note=(
            "bare: the same rows by binary COPY, drained and not decoded, plus IndexFlatIP.add of vectors that are"
            f" in memory already; ours is the first search in a session; medians {1e3 * mine:.1f} ms against"
            f" {1e3 * theirs:.1f} ms"
        ),
    )


def drain_and_add(connection: psycopg.Connection, generation: Generation, crowd: Crowd) -> int:
    """The bytes drained by what bare does for a load."""
    with connection.cursor() as cursor, cursor.copy(_FACES, (generation.number, crowd.session_id)) as copy:
        drained = sum(len(data) for data in copy)
    faiss.IndexFlatIP(crowd.person.size).add(crowd.vectors)
    return drained


def _memory_row(settings: DatabaseSettings, first: Crowd, crowd: Crowd) -> Row:
    """The growth of the process when it loads a shard, beside the bytes of its vectors."""
    faces, floats = crowd.vectors.shape
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        # `_growth` runs in the child process, which imports this module anew.
        work = executor.submit(
            _growth, settings.database.get_secret_value(), first.session_id, crowd.session_id, crowd.person
        )
        grown = work.result()
    return Row(
        name=f"memory of a face, {faces:,} faces x {floats}",
        ours=grown / faces,
        bare=2.0 * floats,
        unit="B/face",
        goal=at_most(1.15, plus=64, unit="B"),
        note=(
            "bare: the stored vector alone, 2 bytes a float; ours: growth of a fresh process's resident memory by"
            " loading the shard, photo ids, boxes and unused room included"
        ),
    )


def _growth(database: str, first: SessionId, session: SessionId, person: Embedding) -> int:
    """Bytes that loading `session` adds, in a child process that has loaded another session before."""
    return asyncio.run(_load_and_weigh(DatabaseSettings(database=SecretStr(database)), first, session, person))


async def _load_and_weigh(
    settings: DatabaseSettings, first: SessionId, session: SessionId, person: Embedding
) -> int:
    async with _opened(settings, person.size) as store, _shards(store) as shards:
        await shards.search(first, person, threshold=DEFAULT_THRESHOLD, limit=_LIMIT)
        before = _resident()
        await shards.search(session, person, threshold=DEFAULT_THRESHOLD, limit=_LIMIT)
        return _resident() - before


def _resident() -> int:
    """Resident bytes, after what is free has been given back to the system."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)
