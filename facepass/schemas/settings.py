"""Settings from the environment (`FACEPASS_*`), each group owned by the part that uses it.

`.env.example` is generated from these classes; a test compares it.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from facepass.schemas.errors import ErrorCode, invalid_input


class _Group(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="FACEPASS_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )


class DatabaseSettings(_Group):
    """storage: PostgreSQL."""

    database: SecretStr = Field(
        default=SecretStr("postgresql://facepass@localhost:5432/facepass"),
        description="PostgreSQL with pgvector, as a libpq URI",
    )
    database_pool_size: int = Field(default=8, ge=2, le=200, description="connections per process at most")


class PhotoStoreSettings(_Group):
    """storage: where the photos are."""

    photos: str = Field(default="./photos", description="a directory, or s3://bucket/prefix")
    s3_endpoint: str | None = Field(default=None, description="S3 endpoint, if not Amazon's own")
    s3_region: str | None = Field(default=None, description="S3 region")
    photo_max_bytes: int = Field(default=50_000_000, ge=1, description="bytes of one photo at most")


class ShardSettings(_Group):
    """storage: the shards of a serving process."""

    shard_memory_mb: int = Field(default=1024, ge=1, description="memory budget of all shards, MiB")


class LeaseSettings(_Group):
    """storage: how long a replica may answer without having seen the database."""

    lease_seconds: float = Field(default=60.0, gt=0, le=3600, description="length of a serving lease")
    poll_seconds: float = Field(default=1.0, gt=0, le=60, description="time between two polls")


class ModelSettings(_Group):
    """embedding: the model pack, the runtime, and what decides which faces count."""

    model: str = Field(default="starter", description="model pack: a name, or a directory with a pack.toml")
    runtime: Literal["auto", "openvino", "onnxruntime"] = Field(
        default="auto", description="auto takes OpenVINO where it is installed"
    )
    threads: int = Field(default=0, ge=0, le=256, description="photos embedded at once; 0: as many as cores")
    cache_dir: Path | None = Field(
        default=None, description="prepared model packs; default: the user's cache directory"
    )
    detection_size: int = Field(
        default=1280, ge=320, le=4096, description="longer side of a photo given to the detector, pixels"
    )
    photo_max_pixels: int = Field(default=100_000_000, ge=1, description="pixels of one photo at most")


class KafkaSettings(_Group):
    """streams: Kafka and the topics."""

    kafka: str = Field(default="localhost:9092", description="host:port of the brokers, separated by commas")
    topic_partitions: int = Field(default=12, ge=1, le=10_000, description="partitions of new topics")
    topic_replication: int = Field(default=1, ge=1, le=10, description="replication factor of new topics")
    photo_retention_hours: int = Field(
        default=-1, ge=-1, description="retention of photo-indexed and the deletion topics; -1: unlimited"
    )
    session_timeout_seconds: float = Field(
        default=30.0, gt=0, le=300, description="Kafka consumer session and rebalance time-out"
    )
    kafka_idempotence: bool = Field(
        default=True, description="idempotent producer; false only for the embedded broker, which refuses it"
    )


class IngestSettings(_Group):
    """streams: batches and retries."""

    batch_photos: int = Field(default=32, ge=1, le=1000, description="photos of one ingest batch at most")
    batch_wait_ms: int = Field(default=2, ge=0, le=10_000, description="how long a batch waits to fill")
    fetch_concurrency: int = Field(default=16, ge=1, le=256, description="photos fetched at once")
    retry_hours: float = Field(default=24.0, gt=0, description="how long a transient failure is retried")
    sweep_seconds: float = Field(default=5.0, gt=0, description="time between two looks for overdue photos")


class GuardSettings(_Group):
    """streams: when a worker ends by itself: status 3 after too many dead letters, 4 by the watchdog."""

    dead_letters_in_a_row: int = Field(
        default=500, ge=0, description="events of a topic given up one after the other at most; 0: no limit"
    )
    dead_letters_per_minute: int = Field(
        default=1000, ge=0, description="events given up by one worker within a minute at most; 0: no limit"
    )
    watchdog_seconds: float = Field(
        default=300.0,
        ge=0,
        description="how long a worker may take none of the events before it; 0: no watchdog",
    )


class SearchSettings(_Group):
    """search_api: limits of one request and of all."""

    selfie_max_bytes: int = Field(default=10_000_000, ge=1, description="bytes of one selfie at most")
    selfie_max_pixels: int = Field(default=4096 * 4096, ge=1, description="pixels of one selfie at most")
    searches_at_once: int = Field(default=64, ge=1, description="searches under way at most; beyond: 503")


class IndexingSettings(_Group):
    """search_api: calls that index or delete, and wait for the outcome."""

    index_wait_seconds: float = Field(
        default=30.0, gt=0, le=600, description="how long a call that indexes one photo waits for its outcome"
    )
    batch_wait_per_photo_seconds: float = Field(
        default=1.0, gt=0, le=60, description="what each photo of a batch adds to that"
    )
    delete_wait_seconds: float = Field(
        default=90.0, gt=0, le=600, description="how long a deletion waits for all replicas; more than the lease"
    )
    idempotency_hours: float = Field(default=24.0, gt=0, description="how long an Idempotency-Key is remembered")


class AccessSettings(_Group):
    """search_api: who may call what, and how often."""

    api_keys: SecretStr = Field(
        default=SecretStr(""),
        description="API keys with every scope, separated by commas, beside those of facepass keys",
    )
    session_tokens: Literal["off", "required"] = Field(
        default="off", description="required: guests need the link of facepass sessions link"
    )
    unannounced: Literal["allow", "refuse"] = Field(
        default="allow", description="sessions with photos that no session-updated event announced"
    )
    legacy: Literal["keys", "open", "off"] = Field(
        default="keys", description="the old routes; keys: uploads and creating events need a key"
    )
    limit_index: str = Field(default="100/minute", description="index calls of one key at most; off: no limit")
    limit_search: str = Field(
        default="1000/minute", description="searches of one client address at most; off: no limit"
    )
    limit_storage: SecretStr = Field(
        default=SecretStr("memory"), description="where limits are counted: memory, or redis://host:port"
    )
    trusted_proxies: str = Field(
        default="", description="addresses or networks whose X-Forwarded-For is believed, separated by commas"
    )
    cors_origins: str = Field(
        default="", description="origins whose pages may call the API, separated by commas; *: all"
    )


_PLACE = re.compile(r"\{[^{}]*\}")
_PLACES = frozenset({"{photo_id}", "{session_id}"})

_START = re.compile(r"/(?!/)|https?://[A-Za-z0-9.\-]+(:[0-9]+)?/|https?://\[[0-9A-Fa-f:.]+\](:[0-9]+)?/")
"""A path on the API's own host, or a host, which is fixed: it goes into the page's Content-Security-Policy."""


def _check_photo_url(template: str) -> str:
    """A template that can be filled in, or the empty one.

    Raises:
        ValueError: anything else.
    """
    if not template:
        return template
    if not _START.match(template) or re.search(r"[\s\x00-\x1f\"<>\\]", template):
        raise ValueError("give an address such as https://photos.example/{session_id}/{photo_id}.jpg")
    places = set(_PLACE.findall(template))
    if "{photo_id}" not in places or not places <= _PLACES or re.search(r"[{}]", _PLACE.sub("", template)):
        raise ValueError("it must hold {photo_id}, may hold {session_id}, and no other {name}")
    return template


_PhotoUrl = Annotated[str, AfterValidator(_check_photo_url)]


class PageSettings(_Group):
    """search_api: the selfie page."""

    photo_url: _PhotoUrl = Field(
        default="", description="address of a photo for guests, with {photo_id} and {session_id}; empty: ids only"
    )
    thumbnail_url: _PhotoUrl = Field(
        default="", description="the same for a small picture; empty: photo_url is shown small"
    )
    public_url: str = Field(
        default="", description="address of this API as guests see it, for links; empty: http://localhost:8000"
    )


class LogSettings(_Group):
    """schemas: logs."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level shown"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, JSON elsewhere"
    )


GROUPS: tuple[type[_Group], ...] = (
    DatabaseSettings,
    KafkaSettings,
    PhotoStoreSettings,
    ModelSettings,
    IngestSettings,
    GuardSettings,
    ShardSettings,
    LeaseSettings,
    SearchSettings,
    IndexingSettings,
    AccessSettings,
    PageSettings,
    LogSettings,
)
"""Every group, in the order of `.env.example`."""

G = TypeVar("G", bound=_Group)


def read_settings(group: type[G]) -> G:
    """Read one group from the environment.

    Raises:
        PermanentError: `invalid_setting`, naming the variable and what it may be, never its value.
    """
    try:
        return group()
    except ValidationError as exc:
        raise invalid_input(
            exc,
            code=ErrorCode.INVALID_SETTING,
            place=lambda place: f"FACEPASS_{str(place[0]).upper()}",
            detail="setting",
        ) from exc


def env_example() -> str:
    """The text of `.env.example`: every setting with its default and what it means."""
    lines = ["# All settings of FacePass with their defaults. Made by: facepass settings"]
    for group in GROUPS:
        lines += ["", f"# {group.__doc__}"]
        for name, field in group.model_fields.items():
            default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
            lines += [f"# {field.description}", f"FACEPASS_{name.upper()}={'' if default is None else default}"]
    return "\n".join(lines) + "\n"
