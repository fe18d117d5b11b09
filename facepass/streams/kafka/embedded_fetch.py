"""Faust's transport for the embedded broker: asks for new records more often.

A broker may let a consumer's fetch wait for records. Apache Kafka answers as soon as there is one. The embedded
broker looks again only after half of that time, and Faust, which has no setting for it, lets it wait 1.5 s: an
event was on its way for 0.3 s on average, and an update to the serving processes for 0.2 s.

The private names of the libraries that it touches are listed in `offset_tracking`.
"""

from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from facepass.streams.kafka.offset_tracking import OffsetTrackingConsumer

FETCH_WAIT_MS = 30
"""While records come: one waits 8 ms on average. Each fetch takes 2 ms of processor time here and 2 ms there."""

IDLE_FETCH_WAIT_MS = 240
"""While none come: the first after a pause waits 60 ms on average."""

_IDLE_SECONDS = 10.0
"""Without a record: a pause."""


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Read when the consumer starts; Faust passes a constant.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    def let_fetches_wait(self, milliseconds: int) -> None:
        if self._consumer is not None and self._consumer._fetcher is not None:
            self._consumer._fetcher._fetch_max_wait_ms = milliseconds  # read for each fetch


class _Consumer(OffsetTrackingConsumer):
    _thread: _Thread
    _last_record = 0.0

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - Faust's
        idle = monotonic() - self._last_record > _IDLE_SECONDS
        self._thread.let_fetches_wait(IDLE_FETCH_WAIT_MS if idle else FETCH_WAIT_MS)
        async for found in super().getmany(timeout):
            self._last_record = monotonic()
            yield found


class EmbeddedBrokerTransport(driver.Transport):
    """The transport for the embedded broker; it takes the place of an app's `transport` before the app starts."""

    Consumer = _Consumer  # Faust makes its consumer of the class that it finds under this name


for _service in (_Thread, _Consumer):
    # Its own lines are the library's: by default they would bear this module's name.
    _service.logger = driver.logger
