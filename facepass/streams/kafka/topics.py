"""The topics and their settings: created where missing, compared where present, checked at start."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.events import (
    DEAD_LETTERS_TOPIC,
    IndexUpdate,
    PhotoDeleted,
    PhotoIndexed,
    SessionDeleted,
    SessionUpdated,
)
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.errors import kafka_errors

_HOUR_MS = 3_600_000
_UPDATES_HOURS = 24
"""`index-updates` are hints: the poll of the database repairs what is lost."""
_DEAD_LETTERS_HOURS = 30 * 24
DEAD_LETTER_MAX_BYTES = 2 * 1024 * 1024
"""Twice Kafka's default for other topics: a dead letter is the original record and a few headers more."""

_TOPIC_EXISTS = 36
"""Kafka's error code; another process may create the same topic at the same moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """One topic as FacePass wants it. `config` holds Kafka's own names and values."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One topic as it is. `config` may lack entries: the embedded broker shows only what was set."""

    partitions: int
    replication: int
    config: Mapping[str, str]


def topic_specs(settings: KafkaSettings) -> list[TopicSpec]:
    """All topics. Deletions and session updates are kept as long as the photos that a replay brings back."""
    kept = str(settings.photo_retention_hours * _HOUR_MS if settings.photo_retention_hours >= 0 else -1)
    retention = {kind.topic: kept for kind in (PhotoIndexed, PhotoDeleted, SessionDeleted, SessionUpdated)}
    retention[IndexUpdate.topic] = str(_UPDATES_HOURS * _HOUR_MS)
    retention[DEAD_LETTERS_TOPIC] = str(_DEAD_LETTERS_HOURS * _HOUR_MS)
    return [
        TopicSpec(
            name=name,
            partitions=settings.topic_partitions,
            replication=settings.topic_replication,
            config={
                "cleanup.policy": "delete",
                "retention.ms": milliseconds,
                # Unlimited time is no use while a limit on bytes still removes records.
                "retention.bytes": "-1",
                **({"max.message.bytes": str(DEAD_LETTER_MAX_BYTES)} if name == DEAD_LETTERS_TOPIC else {}),
            },
        )
        for name, milliseconds in retention.items()
    ]


async def create_topics(settings: KafkaSettings) -> list[str]:
    """Create the topics that are missing; report, and leave alone, what exists and differs.

    Returns:
        One sentence for each difference.

    Raises:
        TransientError: `broker_unavailable`.
        PermanentError: `event_refused`, Kafka refuses to create a topic; the message has its reason.
    """
    specs = topic_specs(settings)
    async with _admin(settings) as admin:
        present = await _present(admin, [spec.name for spec in specs])
        missing = [spec for spec in specs if spec.name not in present]
        if missing:
            _check_created(
                await admin.create_topics(
                    [
                        NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=dict(spec.config))
                        for spec in missing
                    ]
                )
            )
    return [line for spec in specs if spec.name in present for line in _differences(spec, present[spec.name])]


async def check_topics(settings: KafkaSettings, names: Sequence[str]) -> list[str]:
    """Check, before reading or writing them, that topics exist and that nothing compacts them.

    Returns:
        Warnings: deletion topics that are kept for a shorter time than the photos.

    Raises:
        TransientError: `broker_unavailable`; `topic_missing`, with what to do.
        PermanentError: `topic_compacted`, with what to do.
    """
    async with _admin(settings) as admin:
        present = await _present(admin, [*names, PhotoIndexed.topic, PhotoDeleted.topic, SessionDeleted.topic])
    missing = sorted(set(names) - set(present))
    if missing:
        raise TransientError(
            ErrorCode.TOPIC_MISSING, f"no topic {', '.join(missing)}: run `facepass topics create`"
        )
    for name in names:
        policy = present[name].config.get("cleanup.policy", "delete")
        if policy != "delete":
            raise PermanentError(
                ErrorCode.TOPIC_COMPACTED,
                f"topic {name} has cleanup.policy={policy}: Kafka would keep only the newest event of each key and"
                f" photos would be lost. Set it back: kafka-configs --alter --topic {name}"
                " --add-config cleanup.policy=delete",
                topic=name,
            )
    return _kept_too_short(present)


async def count_partitions(settings: KafkaSettings, names: Sequence[str]) -> dict[str, int]:
    """The number of partitions of each topic, without those that do not exist.

    A consumer does not say: until it has subscribed, Apache Kafka tells it of no topic at all.

    Raises:
        TransientError: `broker_unavailable`.
    """
    async with _admin(settings) as admin:
        return {name: found.partitions for name, found in (await _present(admin, names)).items()}


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    with kafka_errors():
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


async def _present(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, _Found]:
    # Asking for a topic by name creates it on brokers with automatic creation: only those are asked for that
    # the list of all topics has.
    there = sorted(set(names) & set(await admin.list_topics()))
    if not there:
        return {}
    described = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(there)}
    configs = await _configs(admin, there)
    return {
        name: _Found(
            partitions=len(described[name]),
            replication=min((len(partition["replicas"]) for partition in described[name]), default=0),
            config=configs.get(name, {}),
        )
        for name in there
    }


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    # By position, as Kafka answers: (error, message, type, topic's name, entries); an entry begins (name, value).
    return {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]}
        for response in await admin.describe_configs(wanted)
        for resource in response.resources
    }


def _check_created(response: object) -> None:
    for name, code, message in response.topic_errors:  # type: ignore[attr-defined]
        if code not in {0, _TOPIC_EXISTS}:
            raise PermanentError(ErrorCode.EVENT_REFUSED, f"Kafka does not create topic {name}: {message}")


def _differences(spec: TopicSpec, found: _Found) -> list[str]:
    lines = []
    if found.partitions != spec.partitions:
        lines.append(f"{spec.name}: {found.partitions} partitions, wanted {spec.partitions}")
    if found.replication != spec.replication:
        lines.append(f"{spec.name}: replication factor {found.replication}, wanted {spec.replication}")
    return lines + [
        f"{spec.name}: {key} is {found.config.get(key, 'the default of the broker')}, wanted {value}"
        for key, value in spec.config.items()
        if found.config.get(key) != value
    ]


def _kept_too_short(present: Mapping[str, _Found]) -> list[str]:
    photos = _retention(present, PhotoIndexed.topic)
    return [
        f"topic {name} is kept for a shorter time than {PhotoIndexed.topic}: a replay could bring back photos"
        " whose deletion is no longer there"
        for name in (PhotoDeleted.topic, SessionDeleted.topic)
        if _retention(present, name) < photos
    ]


def _retention(present: Mapping[str, _Found], name: str) -> float:
    value = present[name].config.get("retention.ms", "-1") if name in present else "-1"
    return float("inf") if value == "-1" else float(value)
