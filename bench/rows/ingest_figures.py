"""Ingest, from event to row: the real process beside its engine without any I/O, and beside the peers' loop."""

import asyncio
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from time import perf_counter

import psutil

from bench import peers
from bench.machine import cores
from bench.row import Goal, Row, at_least, skipped
from bench.site import Site, cpu_seconds
from bench.sizes import Sizes
from facepass.embedding import FaceEngine, fold, open_pack
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.ids import SessionId
from facepass.storage import open_database, open_store
from facepass.streams.kafka import open_publisher

WARM_UP_PHOTOS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One round: `cpu` seconds of the process that analysed the photos, `faces` found."""

    photos: int
    seconds: float
    cpu: float
    faces: int


def ingest_rows(site: Site, sizes: Sizes) -> Iterator[Row]:
    """Ours, bare and the peers' loop in turns."""
    reason = peers.reason_to_skip()
    with nullcontext() if reason else _open_peers(site) as loop:
        ours, bare, theirs = _rounds(site, sizes, loop)
    yield from _own_rows(ours, bare, site)
    name, goal = "ingest, event to row, beside the loop that peers run", at_least(2)
    yield _peers_row(name, goal, ours, theirs) if theirs else skipped(name, "photos/s", str(reason), goal)


def _rounds(site: Site, sizes: Sizes, loop: ProcessPoolExecutor | None) -> tuple[list[Run], list[Run], list[Run]]:
    """Runs of ours, bare and the peers, after a warm-up of each."""
    contents = site.photos.contents()
    sample = [site.photos.directory / name for name in site.photos.names[: sizes.peer_photos]]
    asyncio.run(ingest(site, SessionId("warm-up"), WARM_UP_PHOTOS))
    _analyse(site.engine, contents[:WARM_UP_PHOTOS])
    if loop is not None:
        # In the child process, where `_open_peers` had `peers.open_loop` load the networks.
        loop.submit(peers.run_loop, sample[:1]).result()
    ours, bare, theirs = [], [], []
    for number in range(sizes.ingest_rounds):
        ours.append(asyncio.run(ingest(site, SessionId(f"round-{number}"), len(contents))))
        bare.append(_analyse(site.engine, contents))
        if loop is not None:
            run = loop.submit(peers.run_loop, sample).result()
            theirs.append(Run(photos=len(sample), seconds=run.seconds, cpu=run.cpu, faces=run.faces))
    return ours, bare, theirs


async def ingest(site: Site, session_id: SessionId, photos: int) -> Run:
    """Publish one event a photo and wait until all rows are committed; the clock runs from the first event on."""
    events, process = site.events(session_id, photos), site.ingest_process()
    async with open_database(site.stack.database) as db, open_publisher(site.stack.kafka) as publisher:
        store = await open_store(db, site.engine.spec)
        began, used = perf_counter(), cpu_seconds(process)
        await publisher.publish_all(events)
        counts = await site.settled(store, session_id, photos)
        seconds = perf_counter() - began
    if counts.failed:
        raise PermanentError(
            ErrorCode.INTERNAL, f"{counts.failed} of {len(events)} photos failed: see ingest's log"
        )
    return Run(photos=len(events), seconds=seconds, cpu=cpu_seconds(process) - used, faces=counts.face_count)


def _analyse(engine: FaceEngine, contents: Sequence[bytes]) -> Run:
    """The bare loop: bytes in memory to faces in memory, in the engine's number of threads."""
    process = psutil.Process()
    with ThreadPoolExecutor(engine.threads) as threads:
        began, used = perf_counter(), cpu_seconds(process)
        found = list(threads.map(engine.analyse_photo, contents))
        seconds, cpu = perf_counter() - began, cpu_seconds(process) - used
    return Run(photos=len(found), seconds=seconds, cpu=cpu, faces=sum(len(photo.faces) for photo in found))


def _own_rows(ours: Sequence[Run], bare: Sequence[Run], site: Site) -> Iterator[Row]:
    engine = site.engine
    what = f"bare: the same engine ({engine.runtime}) in {engine.threads} threads of one process, no I/O"
    same = "the same" if ours[-1].faces == bare[-1].faces else f"{bare[-1].faces}"
    found = f"{site.photos.note}; {ours[-1].faces} faces stored, {same} by bare"
    yield Row(
        name="ingest, event to row",
        ours=_median(ours, lambda run: run.photos / run.seconds),
        bare=_median(bare, lambda run: run.photos / run.seconds),
        unit="photos/s",
        goal=at_least(0.85),
        note=f"{what}; ours from the first event published to the last row, beside intake and serve; {found}",
    )
    yield Row(
        name="ingest, processor time a photo",
        ours=_median(ours, lambda run: run.cpu / run.photos),
        bare=_median(bare, lambda run: run.cpu / run.photos),
        unit="CPU s/photo",
        note=f"{what}; ours is the ingest process with its decoders, without PostgreSQL, broker, intake and serve",
    )
    yield Row(
        name="ingest, cores used",
        ours=_median(ours, lambda run: run.cpu / run.seconds),
        bare=_median(bare, lambda run: run.cpu / run.seconds),
        unit="cores",
        note=f"processor time by time passed, of {cores()} cores; ours is the ingest process with its decoders",
    )


def _peers_row(name: str, goal: Goal, ours: Sequence[Run], theirs: Sequence[Run]) -> Row:
    return Row(
        name=name,
        ours=_median(ours, lambda run: run.photos / run.seconds),
        bare=_median(theirs, lambda run: run.photos / run.seconds),
        unit="photos/s",
        goal=goal,
        note=(
            "bare: no library but the loop that peers run, in one process: full decode and cv2.FaceDetectorYN at"
            " the same detection size, insightface's ArcFaceONNX face by face, ONNX Runtime's and OpenCV's own"
            f" threads, the starter pack's networks in fp32; {theirs[-1].photos} of the photos a round,"
            f" {_median(theirs, lambda run: run.cpu / run.photos):.3f} CPU s/photo"
        ),
    )


@contextmanager
def _open_peers(site: Site) -> Iterator[ProcessPoolExecutor]:
    """A child process that has loaded the peers' networks."""
    pack = open_pack("starter")
    detector, recogniser = site.directory / "detector.onnx", site.directory / "recogniser.onnx"
    detector.write_bytes(pack.detector.read())
    recogniser.write_bytes(fold(pack.recogniser.read(), free_size=False))
    arguments = (detector, recogniser, site.model.detection_size)
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=peers.open_loop, initargs=arguments) as executor:
        yield executor


def _median(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return statistics.median(value(run) for run in runs)
