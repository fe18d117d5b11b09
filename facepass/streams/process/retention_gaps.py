"""Events that are gone: what a topic no longer holds although the group has not read it."""

from typing import Any

import faust
from aiokafka import TopicPartition

from facepass.schemas.errors import TransientError
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import retention_gap_records_total, retention_gaps_total
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka import Position, open_positions
from facepass.streams.process.retry import for_a_while

_log = get_logger(__name__)

_PATIENCE_SECONDS = 10.0


def go_on_after_gaps(app: faust.App, kafka: KafkaSettings) -> None:
    """At every assignment, before the first event: say which events are gone, and go on at the earliest there is.

    Left alone, Faust would skip all events of a topic that was deleted and created again, up to the old offset,
    and fill a list with every offset of a gap.
    """

    # This signal is awaited before Faust seeks to the committed offsets; that of the assignment is not.
    @app.on_rebalance_complete.connect
    async def check(_app: object, /, *_: Any, **__: Any) -> None:
        try:
            await for_a_while(lambda: _skip_gaps(app, kafka), seconds=_PATIENCE_SECONDS)
        except TransientError as exc:
            _log.warning("gaps_unchecked", group=app.conf.id, error=exc)


async def _skip_gaps(app: faust.App, kafka: KafkaSettings) -> None:
    assigned = {TopicPartition(one.topic, one.partition): one for one in app.consumer.assignment()}
    if not assigned:
        return
    async with open_positions(kafka, app.conf.id) as positions:
        found = await positions.read(assigned)
    skipped = {
        assigned[partition]: position.begin
        for partition, position in found.items()
        if position.dropped or position.beyond_end
    }
    if skipped:
        # As a member of the group, which Kafka demands while there are others. It is the method that Faust's own
        # `commit` ends in; that one commits only what events were acknowledged.
        await app.consumer._commit(skipped)  # type: ignore[attr-defined]
        # aiokafka's own seek to what is committed passes over offset 0.
        await app.consumer.seek_wait(skipped)
    for partition, position in found.items():
        tell_gap(app.conf.id, partition, position)


def tell_gap(group: str, partition: TopicPartition, position: Position) -> None:
    """Log and count what is gone, if anything is."""
    if not position.dropped and not position.beyond_end:
        return
    retention_gaps_total.labels(topic=partition.topic).inc()
    retention_gap_records_total.labels(topic=partition.topic).inc(position.dropped)
    _log.error(
        "retention_gap" if position.dropped else "offset_beyond_end",
        group=group,
        topic=partition.topic,
        partition=partition.partition,
        from_offset=position.committed,
        to_offset=position.begin,
        records_gone=position.dropped,
        text=(
            "the topic dropped these events before they were read: publish them again, and keep the topic longer"
            if position.dropped
            else "the topic was created anew or lost its end: it is read from its beginning"
        ),
    )
