"""The HTTP API by itself: searches by several clients at once, what HTTP adds to one, a phone's photo, a batch."""

import asyncio
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from time import perf_counter

from bench.client import SearchClient, index_batch
from bench.crowd import FACES_EACH, fill_session, random_faces
from bench.photo_sets import make_phone_photo, make_selfie
from bench.row import Row, at_least, at_most, below
from bench.rows.ingest_figures import WARM_UP_PHOTOS, ingest
from bench.rows.search_figures import Bare, largest_face
from bench.site import Site
from bench.sizes import Sizes
from bench.timing import in_turns, percentiles, timed
from facepass.schemas.faces import Embedding
from facepass.schemas.ids import SessionId
from facepass.storage import open_database, open_store

_SESSION = SessionId("guests")

_CLIENTS_A_THREAD = 2
"""For each thread that analyses selfies: one whose selfie is analysed, and one on its way."""

_ANALYSED = 'search_stage_duration_seconds_sum{stage="embed"}'
"""Seconds that `serve` spent on analyses so far. With one client at a time, the growth is that of its search."""

_OVERHEAD_MS = {"p50": 3.0, "p99": 10.0}
"""What HTTP, parsing and ranking may take."""


def http_rows(site: Site, sizes: Sizes) -> Iterator[Row]:
    """Measure one session of `sizes.session_photos` photos, then index others over HTTP."""
    selfie = make_selfie()
    person = largest_face(site.engine, selfie)
    asyncio.run(_fill(site, person, sizes))
    yield from _sustained_rows(site, selfie, sizes)
    yield from _overhead_rows(site, selfie, sizes)
    yield _phone_row(site, person, sizes)
    yield _batch_row(site, sizes)


async def _fill(site: Site, person: Embedding, sizes: Sizes) -> None:
    vectors = random_faces(sizes.session_photos * FACES_EACH, person, seed=3)
    async with open_database(site.stack.database) as db:
        await fill_session(await open_store(db, site.engine.spec), _SESSION, vectors)


def _sustained_rows(site: Site, selfie: bytes, sizes: Sizes) -> Iterator[Row]:
    """Searches a second by several clients, each sending its next as soon as it is answered."""
    clients = _CLIENTS_A_THREAD * site.engine.threads
    ours, bare = [], []
    with ExitStack() as stack:
        crowd = [stack.enter_context(closing(SearchClient(site.port, selfie, _SESSION))) for _ in range(clients)]
        for _ in range(sizes.http_rounds):
            for client in crowd:
                client.reconnect()
            ours.append(_at_once([client.search for client in crowd], sizes.http_searches))
            analyse = partial(largest_face, site.engine, selfie)
            bare.append(_at_once([analyse] * site.engine.threads, sizes.http_searches))
    note = (
        "bare: the same selfie (1200 x 1600) decoded, detected and embedded by the same engine"
        f" ({site.engine.runtime}) in {site.engine.threads} threads of one process; ours: {clients} clients on"
        f" this machine, whose processor time counts as ours, in a session of {sizes.session_photos:,} photos;"
        f" {sizes.http_rounds} rounds of {sizes.http_searches}"
    )
    yield Row(
        name=f"searches over HTTP, {clients} clients at once",
        ours=statistics.median(run.rate for run in ours),
        bare=statistics.median(run.rate for run in bare),
        unit="searches/s",
        goal=at_least(0.8),
        note=note,
    )
    yield Row(
        name=f"search over HTTP, {clients} clients at once, p95",
        ours=1e3 * percentiles([seconds for run in ours for seconds in run.times]).p95,
        bare=1e3 * percentiles([seconds for run in bare for seconds in run.times]).p95,
        unit="ms",
        goal=below(500, "ms"),
        note=note,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """The figures of a run. `rate`: calls a second, all together; `times`: seconds of each."""

    rate: float
    times: Sequence[float]


def _at_once(callers: Sequence[Callable[[], object]], calls: int) -> _Run:
    """So many calls by all callers together, each caller one at a time, until none is left to begin."""
    free: SimpleQueue[Callable[[], object]] = SimpleQueue()
    for caller in callers:
        free.put(caller)

    def call(_: int) -> float:
        caller = free.get()
        seconds = timed(caller)
        free.put(caller)
        return seconds

    with ThreadPoolExecutor(len(callers)) as threads:
        began = perf_counter()
        times = list(threads.map(call, range(calls)))
        return _Run(rate=calls / (perf_counter() - began), times=times)


def _overhead_rows(site: Site, selfie: bytes, sizes: Sizes) -> Iterator[Row]:
    """A whole search without its analysis, both of the same search; `serve` says what the analysis took."""
    others: list[float] = []
    analyses: list[float] = []
    with closing(SearchClient(site.port, selfie, _SESSION)) as client:
        client.search()
        analysed = client.metric(_ANALYSED)
        for _ in range(sizes.searches):
            seconds, before = timed(client.search), analysed
            analysed = client.metric(_ANALYSED)
            analyses.append(analysed - before)
            others.append(seconds - analyses[-1])
    ours, bare = percentiles(others), percentiles(analyses)
    for name, limit in _OVERHEAD_MS.items():
        yield Row(
            name=f"HTTP, parsing and ranking of a search, {name}",
            ours=1e3 * getattr(ours, name),
            bare=1e3 * getattr(bare, name),
            unit="ms",
            goal=below(limit, "ms"),
            note=(
                "ours: from the first byte sent to the last of the answer, without what serve's own metric says"
                " that its analysis took (in its thread and decoder process), which is bare;"
                f" {sizes.searches} searches of one client"
            ),
        )


def _phone_row(site: Site, person: Embedding, sizes: Sizes) -> Row:
    """The largest kind of selfie that people send."""
    photo = make_phone_photo()
    vectors = random_faces(sizes.session_photos * FACES_EACH, person, seed=3)
    bare = Bare(site.engine, photo, vectors)
    with closing(SearchClient(site.port, photo, _SESSION)) as client:
        times, bare_times = in_turns(client.search, bare.search, rounds=sizes.phone_searches, warm_up=2)
    return Row(
        name="search over HTTP by a photo from a phone, p50",
        ours=1e3 * percentiles(times).p50,
        bare=1e3 * percentiles(bare_times).p50,
        unit="ms",
        goal=at_most(1.1, plus=3, unit="ms"),
        note=(
            f"bare: the same photo ({len(photo) / 1e6:.1f} MB, 3024 x 4032) decoded,"
            f" detected and embedded by the same engine ({site.engine.runtime}, one thread) and searched by faiss"
            f" IndexFlatIP in one process; {sizes.phone_searches} searches each"
        ),
    )


def _batch_row(site: Site, sizes: Sizes) -> Row:
    """The same photos by one call and by one event each, in turns, into sessions of their own."""
    ours, bare = [], []
    for number in range(-1, sizes.ingest_rounds):
        photos = WARM_UP_PHOTOS if number < 0 else sizes.ingest_photos
        session_id = SessionId(f"called-{number}")
        ours.append(timed(partial(index_batch, site, session_id, site.events(session_id, photos))))
        bare.append(asyncio.run(ingest(site, SessionId(f"announced-{number}"), photos)).seconds)
    return Row(
        name=f"index/batch of {sizes.ingest_photos} photos",
        ours=statistics.median(ours[1:]),
        bare=statistics.median(bare[1:]),
        unit="s",
        goal=at_most(1.15, plus=0, unit="s"),
        note=(
            "bare: the same photos by one event each, from the first published to the last row; ours: one call,"
            f" from its first byte to its whole answer; {sizes.ingest_rounds} rounds, medians; {site.photos.note}"
        ),
    )
