"""Kafka as FacePass uses it: what mends and drives Faust and aiokafka, topics, records, publishing.

Nobody else imports Faust or aiokafka but for their types, and the room of the dead letters to follow its topic.
Knows nothing of photos or rows.
"""

from facepass.streams.kafka.batching import batches
from facepass.streams.kafka.errors import kafka_errors
from facepass.streams.kafka.faust_app import add_agent, new_app, stop_app
from facepass.streams.kafka.group_offsets import GroupOffsets, PartitionOffsets, open_group_offsets
from facepass.streams.kafka.offset_tracking import go_on_at
from facepass.streams.kafka.publisher import Publisher, open_publisher
from facepass.streams.kafka.reconnecting_publisher import open_reconnecting_publisher
from facepass.streams.kafka.records import (
    DeadLetter,
    Headers,
    Record,
    record_from_consumer,
    record_from_message,
)
from facepass.streams.kafka.topic_reader import TopicReader, open_topic_reader
from facepass.streams.kafka.topics import check_topics, count_partitions, create_topics, topic_specs

__all__ = [
    "DeadLetter",
    "GroupOffsets",
    "Headers",
    "PartitionOffsets",
    "Publisher",
    "Record",
    "TopicReader",
    "add_agent",
    "batches",
    "check_topics",
    "count_partitions",
    "create_topics",
    "go_on_at",
    "kafka_errors",
    "new_app",
    "open_group_offsets",
    "open_publisher",
    "open_reconnecting_publisher",
    "open_topic_reader",
    "record_from_consumer",
    "record_from_message",
    "stop_app",
    "topic_specs",
]
