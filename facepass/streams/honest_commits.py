"""Faust's transport, but for one mistake: a commit that a rebalance refused is not taken for one that was made.

Faust notes the offsets of a refused commit as committed. The events behind them come again after the rebalance,
and their acknowledgement is ignored as one of the past: the group's offset stood still until a later event came,
and the watchdog ended a worker that had done all its work.
"""

from collections.abc import Mapping
from typing import Any

from faust.transport.drivers import aiokafka as driver


class HonestConsumer(driver.Consumer):
    """A consumer that knows what is committed."""

    _before_refusal: Mapping[Any, int | None] | None = None

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        committed: bool = await super()._commit(offsets)
        # Taken after the refusal: a rebalance may have ended meanwhile and told better.
        self._before_refusal = None if committed else dict(self._committed_offset)
        return committed

    async def _commit_offsets(self, offsets: Mapping[Any, int], start_new_transaction: bool = True) -> bool:
        committed: bool = await super()._commit_offsets(offsets, start_new_transaction)
        before, self._before_refusal = self._before_refusal, None
        if not committed and before is not None:
            for partition in offsets:
                self._committed_offset[partition] = before.get(partition)
        return committed


class HonestTransport(driver.Transport):
    """Takes the place of an app's `transport` before the app starts."""

    Consumer = HonestConsumer


# Its own lines are the library's: by default they would bear this module's name.
HonestConsumer.logger = driver.logger
