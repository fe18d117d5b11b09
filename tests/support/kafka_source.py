"""Where the tests' Apache Kafka comes from, decided here: with a Docker engine a container, else jars by Maven.

The fault suite always takes the jars: it kills and freezes the process, starts it again on the same log, and puts
its directory on a full disk.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import pytest

from facepass.local.apache_kafka import SETTINGS, VERSION, apache_kafka, missing_for_apache_kafka
from facepass.local.broker import answers
from facepass.local.ports import free_port

IMAGE = f"apache/kafka:{VERSION}"
CONTROLLER_PORT = 29093
ENGINE_ANSWERS_WITHIN = 5
STARTS_WITHIN = 120.0


class Source(StrEnum):
    CONTAINER = "container"
    JARS = "jars"
    NONE = "none"


def choose(*, engine: bool, missing: str | None) -> Source:
    """`engine`: whether a Docker engine answers; `missing`: what the jars lack, or None."""
    if engine:
        return Source.CONTAINER
    return Source.JARS if missing is None else Source.NONE


@contextmanager
def apache_kafka_for_tests(directory: Path) -> Iterator[str]:
    """The address of a running Apache Kafka; skips where there is none, saying what to install."""
    missing = missing_for_apache_kafka()
    source = choose(engine=docker_engine(), missing=missing)
    if source is Source.CONTAINER:
        with _container() as address:
            yield address
    elif source is Source.JARS:
        with apache_kafka(directory) as broker:
            yield broker.address
    else:
        pytest.skip(f"no Docker engine answers, and {missing}")


def docker_engine() -> bool:
    """Whether a Docker engine answers where the environment says.

    Asked in a process of its own: the library leaves a socket open when nobody answers, and pytest would blame
    the next test.
    """
    ask = f"import docker; docker.from_env(timeout={ENGINE_ANSWERS_WITHIN}).ping()"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, check=False).returncode == 0


def container_environment(host: str, port: int) -> Mapping[str, str]:
    """The settings of the broker from jars, named as the image's documentation says: KAFKA_ABC_DEF for abc.def."""
    own = {
        "controller.quorum.voters": f"1@localhost:{CONTROLLER_PORT}",
        "listeners": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://localhost:{CONTROLLER_PORT}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "/tmp/kafka-logs",  # noqa: S108 - in the container
    }
    return {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in (SETTINGS | own).items()}


@contextmanager
def _container() -> Iterator[str]:
    """Apache's own image; testcontainers' Kafka class knows only that of another vendor.

    The port is chosen before and is the same inside: Kafka tells its clients, and itself, one address.
    """
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow to import, few runs need it

    port = free_port()
    container = DockerContainer(IMAGE).with_bind_ports(port, port)
    host = container.get_docker_client().host()
    with container.with_envs(**container_environment(host, port)):
        running = container.get_wrapped_container()
        deadline = time.monotonic() + STARTS_WITHIN
        while not answers(host, port):
            running.reload()
            if running.status == "exited" or time.monotonic() > deadline:
                log = running.logs(tail=40).decode(errors="replace")
                raise AssertionError(f"{IMAGE} does not answer ({running.status}); the end of its log:\n{log}")
            time.sleep(0.1)
        yield f"{host}:{port}"
