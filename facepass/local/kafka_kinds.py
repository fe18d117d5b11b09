"""The two brokers that run on this machine, behind one door."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from facepass.local.apache_kafka import VERSION, apache_kafka, jars_are_there, missing_for_apache_kafka
from facepass.local.broker import embedded_broker
from facepass.local.children import Child
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.settings import KafkaSettings

_SESSION_TIMEOUT_SECONDS = 6.0
"""Short: the embedded broker answers a group join after half the rebalance time-out, and on Apache Kafka a start
after a kill waits for the sessions of the killed members to expire."""


class KafkaKind(StrEnum):
    """A kind of broker."""

    EMBEDDED = "embedded"
    APACHE = "apache"

    @property
    def label(self) -> str:
        """The broker's name in a sentence, with its version where no package has one."""
        return f"Apache Kafka {VERSION}" if self is KafkaKind.APACHE else "the embedded broker"


def check_kind(kind: KafkaKind, option: str) -> None:
    """Check, before anything is started, that what the broker needs is installed.

    Raises:
        PermanentError: `invalid_setting`, naming the command's option and what to install.
    """
    missing = missing_for_apache_kafka() if kind is KafkaKind.APACHE else None
    if missing:
        raise PermanentError(ErrorCode.INVALID_SETTING, f"{option} {kind}: {missing}", setting=option)


@contextmanager
def local_kafka(
    kind: KafkaKind,
    host: str,
    port: int,
    *,
    directory: Path,
    logs: Path,
    report: Callable[[str], None],
    started: Callable[[Child], None],
) -> Iterator[KafkaSettings]:
    """Run a broker for the time of the context.

    Args:
        directory: keeps the topics of Apache Kafka; the embedded broker keeps nothing.
        logs: gets its log.
        report: told what is being done, a few words.
        started: told of its process, for whoever watches over it.

    Yields:
        What its clients need to know.

    Raises:
        FacePassError: `broker_unavailable`: it is not installed, ended at once, or did not answer in time.
    """
    if kind is KafkaKind.APACHE:
        if not jars_are_there():
            report("fetching Apache Kafka by Maven, once")
        report("starting Apache Kafka")
        with apache_kafka(directory, host=host, port=port, logs=logs) as kafka:
            if kafka.child:
                started(kafka.child)
            yield _settings(kafka.address, idempotence=True)
    else:
        report("starting the broker")
        with embedded_broker(host, port, log=logs / "broker.log", started=started) as address:
            yield _settings(address, idempotence=False)


def _settings(address: str, *, idempotence: bool) -> KafkaSettings:
    return KafkaSettings(
        kafka=address, kafka_idempotence=idempotence, session_timeout_seconds=_SESSION_TIMEOUT_SECONDS
    )
