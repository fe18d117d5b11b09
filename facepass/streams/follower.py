"""The follower of a serving process: hints from `index-updates`, deltas, and the poll of the database.

It runs in the event loop of the HTTP server, whose handlers search the shards that it keeps current. Kafka brings
the hints and nothing else: without it the poll alone keeps the shards right, a little later.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import faust

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.events import IndexUpdate
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import events_total
from facepass.schemas.settings import KafkaSettings, LeaseSettings
from facepass.streams.kafka import add_agent, check_topics, new_app, record_from_message, stop_app

_log = get_logger(__name__)

_BUFFERED = 4096
_RECONNECT_SECONDS = 5.0


class HintedShards(Protocol):
    """The part of the shards that hints and deltas reach."""

    def hint(self, update: IndexUpdate) -> None:
        """Note what an update says; never waits."""

    async def catch_up(self) -> None:
        """Bring forward every shard that is behind."""


class Listener(Protocol):
    """The other part that hears of every update: the calls that wait for one."""

    def note(self, update: IndexUpdate) -> None:
        """Take an update; never waits."""


class PolledReplica(Protocol):
    """The part of the replica that the poll task drives."""

    async def poll(self) -> None:
        """Poll the database once."""


class Follower:
    """The follower. Build one with `build_follower`, and let it run inside `async with follower.running():`."""

    def __init__(
        self,
        kafka: KafkaSettings,
        lease: LeaseSettings,
        shards: HintedShards,
        replica: PolledReplica,
        listener: Listener | None,
    ) -> None:
        self._listener = listener
        self._kafka = kafka
        self._lease = lease
        self._shards = shards
        self._replica = replica
        self._hinted = asyncio.Event()
        self._following = False

    def broker_healthy(self) -> bool:
        """True if hints arrive: the consumer is in its group."""
        return self._following

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll, follow and catch up while the block runs; never fails because Kafka or PostgreSQL is absent."""
        tasks = [
            asyncio.create_task(task(), name=f"follower-{task.__name__}")
            for task in (self.poll_forever, self.catch_up_forever, self.follow_forever)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def poll_forever(self) -> None:
        """Poll the database every `poll_seconds`, whatever the poll before it came to."""
        while True:
            await _survive(self._replica.poll, "poll_failed")
            await asyncio.sleep(self._lease.poll_seconds)

    async def catch_up_forever(self) -> None:
        """Fetch and apply deltas whenever a hint came; the poll covers what fails here."""
        while True:
            await self._hinted.wait()
            self._hinted.clear()
            await _survive(self._shards.catch_up, "catch_up_failed")

    async def follow_forever(self) -> None:
        """Consume `index-updates` from the newest on; begin anew when Kafka was lost or absent."""
        while True:
            await _survive(self._follow, "broker_lost")
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _follow(self) -> None:
        await check_topics(self._kafka, [IndexUpdate.topic])
        app = self._new_app()
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def fail(failure: Exception) -> None:
            # A stop ends the agent too, when nobody waits for this any more.
            if not failed.done():
                failed.set_exception(failure)

        # Faust runs it in a task of its own from `app.start` on.
        add_agent(app, IndexUpdate.topic, self.take_hints, on_error=fail)
        try:
            await app.start()
            self._following = True
            stopped = asyncio.ensure_future(app.wait_until_stopped())
            await asyncio.wait([stopped, failed], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        finally:
            self._following = False
            failure = failed.exception() if failed.done() else None
            failed.cancel()
            await stop_app(app)
        if failure is not None:
            raise failure
        raise TransientError(
            ErrorCode.BROKER_UNAVAILABLE, f"the consumer ended: {type(app.crash_reason).__name__}"
        )

    def _new_app(self) -> faust.App:
        # A group of its own for each life of each replica: every one gets every hint, and none of the past.
        app_id = f"facepass-serve-{uuid.uuid4()}"
        return new_app(self._kafka, app_id=app_id, buffered=_BUFFERED, newest_only=True, fetch_often=True)

    async def take_hints(self, stream: Any) -> None:
        """Note each hint. Waits for nothing: a deletion must hide at once, even while PostgreSQL is slow."""
        async for event in stream.events():
            record = record_from_message(event.message)
            try:
                update = record.decode(IndexUpdate)
            except PermanentError as exc:
                events_total.labels(topic=IndexUpdate.topic, outcome=exc.code).inc()
                _log.warning("event_refused", topic=IndexUpdate.topic, offset=record.origin.offset, error=exc)
                continue
            self._shards.hint(update)
            self._hinted.set()  # wakes `catch_up_forever`
            if self._listener is not None:
                self._listener.note(update)
            events_total.labels(topic=IndexUpdate.topic, outcome="applied").inc()


def build_follower(
    kafka: KafkaSettings,
    lease: LeaseSettings,
    shards: HintedShards,
    replica: PolledReplica,
    listener: Listener | None = None,
) -> Follower:
    """The follower of one serving process; the replica must be registered before it runs."""
    return Follower(kafka, lease, shards, replica, listener)


async def _survive(operation: Callable[[], Awaitable[None]], line: str) -> None:
    """Run once; a failure is a line in the log, with its traceback where it is a defect, and never the end."""
    try:
        await operation()
    except TransientError as exc:
        _log.warning(line, error=exc)
    except FacePassError as exc:
        _log.error(line, error=exc)
    except Exception as exc:
        _log.error(line, exc_info=exc)
