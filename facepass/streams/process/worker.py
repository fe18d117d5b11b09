"""The life of a consuming process: start when the others are there, stop in order, never stall in silence."""

import asyncio
import math
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import faust
from aiokafka import TopicPartition

from facepass.schemas.events import DEAD_LETTERS_TOPIC, IndexUpdate
from facepass.schemas.faces import GenerationSpec
from facepass.schemas.logs import get_logger
from facepass.schemas.settings import DatabaseSettings, KafkaSettings
from facepass.storage import Store, open_database, open_store
from facepass.streams.kafka import Publisher, check_topics, open_publisher, stop_app
from facepass.streams.process.retry import until_available

_log = get_logger(__name__)

_DRAIN_SECONDS = 6.0
"""What batches under way get to finish after a signal; together with Faust's own stop, less than the ten seconds
after which `docker stop` kills. What does not finish is not acknowledged and comes again."""

T = TypeVar("T")


class Worker:
    """The state of a process: what it consumes and how it fares. Asked by the probes, told by its agents."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stop = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._under_way = 0
        self._idle_since = -math.inf
        self._failure: BaseException | None = None
        self._held: dict[faust.App, frozenset[TopicPartition] | None] = {}

    @property
    def stopping(self) -> bool:
        """True if no further batch may be begun."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Begin no further batch, finish those under way, leave the group, end."""
        self._stop.set()

    def fail(self, failure: BaseException) -> None:
        """Stop, and end the process with this failure; only the first counts, and none after a stop."""
        if self.stopping:
            return
        while isinstance(failure, BaseExceptionGroup):
            # What ended a batch has cancelled its neighbours: the first is the reason.
            failure = failure.exceptions[0]
        _log.error("worker_failed", worker=self.name, exc_info=failure)
        self._failure = failure
        self._stop.set()

    def not_ready(self) -> str | None:
        """The reason why it does no work yet; None when it holds partitions, or is a spare of a full group."""
        if self.stopping:
            return "stopping"
        if not self._held or None in self._held.values():
            return "waits for PostgreSQL, Kafka, its topics or its partitions"
        return None

    @property
    def held(self) -> frozenset[TopicPartition]:
        """The partitions that this process consumes: none during a rebalance, or as a spare."""
        return frozenset().union(*(held for held in self._held.values() if held))

    @property
    def idle_seconds(self) -> float:
        """The seconds since the end of the last batch; 0 while one is under way."""
        return 0.0 if self._under_way else monotonic() - self._idle_since

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Mark work that a stop lets finish."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle_since = monotonic()
                self._idle.set()

    def fail_if_cancelled(self, part: "asyncio.Task[None]") -> None:
        """Fail if `part` of the task that calls this is cancelled, unless that task is cancelled as a whole.

        To asyncio a cancelled task is no failure: what it held would neither be finished nor come again.
        """
        whole = asyncio.current_task()

        def look(_: object) -> None:
            if part.cancelled() and not (whole and whole.cancelling()):
                self.fail(RuntimeError("work under way was cancelled although nothing was to stop"))

        part.add_done_callback(look)

    async def unless_stopped(self, start: Coroutine[Any, Any, T]) -> T | None:
        """The result of `start`; None if the stop comes first, `start` then being cancelled."""
        starting = asyncio.create_task(start)
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            return starting.result() if starting.done() else None
        finally:
            stopped.cancel()
            starting.cancel()
            await asyncio.gather(starting, stopped, return_exceptions=True)

    async def run(self, *apps: faust.App, tasks: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()) -> None:
        """Consume until the stop, then finish, commit and leave the group.

        Raises: the failure that ended the work, whether an agent's, a task's or Faust's own.
        """
        for app in apps:
            self._held[app] = None  # Faust calls the two below at every rebalance, from its own tasks
            app.on_partitions_assigned.connect(self._on_assigned)
            app.on_partitions_revoked.connect(self._on_revoked)
        async with asyncio.TaskGroup() as group:
            around = [group.create_task(self._watched(task)) for task in tasks]
            around += [group.create_task(self._watched(partial(self._watch_app, app))) for app in apps]
            await self.unless_stopped(self._watched(partial(_start, apps)))
            await self._stop.wait()
            if self._failure is None:
                await self._finish_batches()
            for task in around:
                task.cancel()
            if not all(await asyncio.gather(*map(stop_app, apps))):
                _log.warning("kafka_left_without_goodbye", worker=self.name)
            _log.info("stopped", worker=self.name)
        if self._failure is not None:
            raise self._failure

    async def _watched(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await task()
        except Exception as exc:
            self.fail(exc)
        except asyncio.CancelledError:
            # A stop is noted before anything is cancelled for it.
            self.fail(RuntimeError("a task of the worker was cancelled although nothing was to stop"))
            raise

    async def _watch_app(self, app: faust.App) -> None:
        await app.wait_until_stopped()
        if not self.stopping:
            self.fail(app.crash_reason or RuntimeError("Faust stopped by itself"))

    async def _finish_batches(self) -> None:
        try:
            await asyncio.wait_for(self._idle.wait(), _DRAIN_SECONDS)
        except TimeoutError:
            _log.warning("batches_unfinished", worker=self.name, seconds=_DRAIN_SECONDS, batches=self._under_way)

    async def _on_assigned(self, app: faust.App, /, *args: Any, **_: Any) -> None:
        (assigned,) = args
        self._held[app] = frozenset(TopicPartition(one.topic, one.partition) for one in assigned)
        _log.info("partitions_assigned", worker=self.name, partitions=len(assigned), spare=not assigned)

    async def _on_revoked(self, app: faust.App, /, *args: Any, **_: Any) -> None:
        (revoked,) = args
        self._held[app] = None
        _log.info("partitions_revoked", worker=self.name, partitions=len(revoked))


async def _start(apps: Sequence[faust.App]) -> None:
    await asyncio.gather(*(app.start() for app in apps))


@asynccontextmanager
async def stop_on_signals(worker: Worker) -> AsyncIterator[None]:
    """Let SIGTERM and SIGINT stop the worker while the block runs."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def open_waiting(
    stack: AsyncExitStack, opener: Callable[[], AbstractAsyncContextManager[T]], *, waiting_for: str
) -> T:
    """Enter what `opener` makes on `stack`, however long it takes the other side to be there."""
    return await until_available(lambda: stack.enter_async_context(opener()), waiting_for=waiting_for)


async def open_stores(
    stack: AsyncExitStack,
    *,
    kafka: KafkaSettings,
    topics: Sequence[str],
    database: DatabaseSettings,
    spec: GenerationSpec,
) -> tuple[Store, Publisher]:
    """The stores of a consuming process, opened and checked; waits, with a line in the log, for what is absent.

    Raises:
        PermanentError: what waiting does not mend: `topic_compacted`, `not_migrated`, `generation_mismatch`,
            `invalid_setting`.
    """
    opened = await open_waiting(stack, lambda: open_database(database), waiting_for="PostgreSQL")
    store = await until_available(lambda: open_store(opened, spec), waiting_for="PostgreSQL")
    names = [*topics, IndexUpdate.topic, DEAD_LETTERS_TOPIC]
    for warning in await until_available(lambda: check_topics(kafka, names), waiting_for="Kafka"):
        _log.warning("topics", warning=warning)
    publisher = await open_waiting(stack, lambda: open_publisher(kafka), waiting_for="Kafka")
    return store, publisher
