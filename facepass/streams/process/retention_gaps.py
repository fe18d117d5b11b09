"""Events that are gone: what a topic no longer holds although the group has not read it."""

from typing import Any

import faust
from aiokafka import TopicPartition

from facepass.schemas.errors import TransientError
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import retention_gap_records_total, retention_gaps_total
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka import PartitionOffsets, go_on_at, open_group_offsets
from facepass.streams.process.retry import for_a_while

_log = get_logger(__name__)

_PATIENCE_SECONDS = 10.0


def skip_retention_gaps(app: faust.App, kafka: KafkaSettings) -> None:
    """Report at every assignment, before the first event, which events are gone; go on at the earliest there is.

    Left alone, Faust would skip all events of a topic that was deleted and created again, up to the old offset,
    and fill a list with every offset of a gap.
    """

    # This signal is awaited before Faust seeks to the committed offsets; that of the assignment is not.
    @app.on_rebalance_complete.connect
    async def check(_app: object, /, *_: Any, **__: Any) -> None:
        try:
            await for_a_while(lambda: _report_and_skip(app, kafka), seconds=_PATIENCE_SECONDS)
        except TransientError as exc:
            _log.warning("gaps_unchecked", group=app.conf.id, error=exc)


async def _report_and_skip(app: faust.App, kafka: KafkaSettings) -> None:
    assigned = {TopicPartition(one.topic, one.partition): one for one in app.consumer.assignment()}
    if not assigned:
        return
    async with open_group_offsets(kafka, app.conf.id) as group_offsets:
        found = await group_offsets.read(assigned)
    skipped = {
        assigned[partition]: offsets.begin
        for partition, offsets in found.items()
        if offsets.dropped or offsets.beyond_end
    }
    if skipped:
        await go_on_at(app, skipped)
    for partition, offsets in found.items():
        report_retention_gap(app.conf.id, partition, offsets)


def report_retention_gap(group: str, partition: TopicPartition, offsets: PartitionOffsets) -> None:
    """Log and count the events of a partition that are gone, if any are."""
    if not offsets.dropped and not offsets.beyond_end:
        return
    retention_gaps_total.labels(topic=partition.topic).inc()
    retention_gap_records_total.labels(topic=partition.topic).inc(offsets.dropped)
    _log.error(
        "retention_gap" if offsets.dropped else "offset_beyond_end",
        group=group,
        topic=partition.topic,
        partition=partition.partition,
        from_offset=offsets.committed,
        to_offset=offsets.begin,
        records_gone=offsets.dropped,
        text=(
            "the topic dropped these events before they were read: publish them again, and keep the topic longer"
            if offsets.dropped
            else "the topic was created anew or lost its end: it is read from its beginning"
        ),
    )
