"""Which Apache Kafka the tests take, and that both kinds are set up alike."""

import inspect

import pytest
from support.kafka_source import IMAGE, Source, choose, container_environment, docker_engine

from facepass.local.apache_kafka import SETTINGS


@pytest.mark.parametrize(
    ("engine", "missing", "source"),
    [
        (True, None, Source.CONTAINER),
        (True, "Maven is not installed", Source.CONTAINER),
        (False, None, Source.JARS),
        (False, "Maven is not installed", Source.NONE),
    ],
)
def test_a_container_where_an_engine_runs_else_jars_else_nothing(
    engine: bool, missing: str | None, source: Source
) -> None:
    assert choose(engine=engine, missing=missing) is source


def test_no_engine_is_found_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert docker_engine() is False


def test_the_container_has_the_settings_of_the_jars_and_tells_clients_where_it_is() -> None:
    environment = container_environment("engine.example", 12345)
    assert set(SETTINGS.values()) <= set(environment.values())
    assert environment["KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS"] == SETTINGS["group.min.session.timeout.ms"]
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://engine.example:12345"
    assert all(name.isupper() and "." not in name for name in environment)


def test_the_library_has_what_is_asked_of_it() -> None:
    """As much as can be seen of it without an engine: making a container already asks one."""
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow to import
    from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415 - slow to import

    inspect.signature(DockerContainer).bind(IMAGE)
    inspect.signature(DockerContainer.with_bind_ports).bind(None, 1234, 1234)
    inspect.signature(DockerContainer.with_envs).bind(None, **container_environment("host", 1234))
    assert all(callable(method) for method in (DockerContainer.get_docker_client, DockerClient.host))
