"""Recovery from a kill of `serve`: how soon the next one gives its first answer, for a session it has to load."""

import asyncio
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from time import perf_counter

import psycopg

from bench.client import SearchClient
from bench.crowd import fill_session, random_faces
from bench.photo_sets import make_selfie
from bench.row import Row, below
from bench.rows.search_figures import Bare, largest_face
from bench.rows.shard_figures import Crowd, drain_and_add
from bench.site import HOST, Site
from bench.sizes import Sizes
from bench.timing import timed
from facepass.local import Child, last_lines, start_child, stop_children
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.ids import SessionId
from facepass.storage import Generation, open_database, open_store

_SESSION = SessionId("reopened")

_LOOK_SECONDS = 0.002
_START_SECONDS = 180.0


def recovery_rows(site: Site, sizes: Sizes) -> Iterator[Row]:
    """Kill `serve` again and again; it stays dead afterwards, so these rows are a site's last."""
    selfie = make_selfie()
    person = largest_face(site.engine, selfie)
    crowd = Crowd(session_id=_SESSION, vectors=random_faces(sizes.recovery_faces, person, seed=2), person=person)
    generation = asyncio.run(_fill(site, crowd))
    search = Bare(site.engine, selfie, crowd.vectors)
    ours, starts, bare = [], [], []
    next(child for child in site.stack.children if child.name == "serve").process.kill()
    with psycopg.connect(site.stack.database.database.get_secret_value(), autocommit=True) as connection:
        for _ in range(sizes.recoveries + 1):
            started, answered = _start_and_search(site, selfie)
            starts.append(started)
            ours.append(answered)
            bare.append(timed(lambda: drain_and_add(connection, generation, crowd)) + timed(search.search))
    yield Row(
        name=f"first answer after kill -9 of serve, session of {sizes.recovery_faces:,} faces, longest",
        ours=1e3 * max(ours[1:]),
        bare=1e3 * statistics.median(bare[1:]),
        unit="ms",
        goal=below(1000, "ms"),
        note=(
            f"ours from the process being up (/health answers, {statistics.median(starts[1:]):.1f} s after its"
            f" start) to the answer of a search, the longest of {sizes.recoveries}, their median"
            f" {1e3 * statistics.median(ours[1:]):.0f} ms; bare: the session's rows by binary COPY, drained and"
            " not decoded, IndexFlatIP.add of vectors that are in memory already, the selfie decoded, detected,"
            " embedded and searched, in one process, median"
        ),
    )


async def _fill(site: Site, crowd: Crowd) -> Generation:
    async with open_database(site.stack.database) as db:
        store = await open_store(db, site.engine.spec)
        await fill_session(store, crowd.session_id, crowd.vectors)
        return store.generation


def _start_and_search(site: Site, selfie: bytes) -> tuple[float, float]:
    """Seconds from the start of a process until it was up, and from then until its first answer; then kill it."""
    began = perf_counter()
    with _serve(site) as child, closing(SearchClient(site.port, selfie, _SESSION)) as client:
        deadline = began + _START_SECONDS
        _retry(client.health, child, deadline)
        up = perf_counter()
        _retry(client.search, child, deadline)
        return up - began, perf_counter() - up


@contextmanager
def _serve(site: Site) -> Iterator[Child]:
    """A `serve` in the place of the one that was killed, killed in its turn."""
    command = [sys.executable, "-m", "facepass", "serve", "--host", HOST, "--port", str(site.port)]
    child = start_child("serve", command, log=site.stack.logs / "serve.log", env=site.stack.environment)
    try:
        yield child
    finally:
        stop_children([child], patience=0.0, stop_signal=signal.SIGKILL)


def _retry(call: Callable[[], object], child: Child, deadline: float) -> None:
    """Call until it is answered.

    Raises:
        PermanentError: `internal`: the process has ended, or the answer is no good.
        TransientError: `internal`: no answer by the deadline.
    """
    while True:
        try:
            call()
        except TransientError:
            if not child.running():
                raise PermanentError(
                    ErrorCode.INTERNAL, f"serve did not start; the end of {child.log}:\n{last_lines(child.log)}"
                ) from None
            if perf_counter() > deadline:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return
