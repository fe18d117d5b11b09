"""Fixtures on real parts: one embedded PostgreSQL and broker a run, a migrated database of its own a test."""

import logging
import os
import secrets
import uuid
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import psycopg
import pytest
import structlog
from psycopg import sql
from pydantic import SecretStr
from support.kafka_source import apache_kafka_for_tests
from support.running import Running

from facepass.local.broker import embedded_broker
from facepass.local.ports import free_port
from facepass.local.postgres import DATABASE, embedded_postgres
from facepass.schemas.logs import set_up_logs
from facepass.schemas.settings import DatabaseSettings, LogSettings, ModelSettings

if TYPE_CHECKING:
    from facepass.embedding import FaceEngine

NO_SKIP = os.environ.get("FACEPASS_NO_SKIP") == "1"
"""Set in CI: what is skipped there was never tested."""

# A machine whose cores others take makes no test fail.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if NO_SKIP and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"FACEPASS_NO_SKIP=1, but this was skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a running, empty PostgreSQL with pgvector; make databases of your own in it."""
    directory = tmp_path_factory.mktemp("postgres")
    with embedded_postgres(directory / "data", log=directory / "postgres.log", durable=False) as uri:
        yield uri


@pytest.fixture(scope="session")
def _template(postgres: str) -> str:
    from facepass.storage.migrations import migrate  # noqa: PLC0415 - slow to import, not every run needs it

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template")
    migrate(DatabaseSettings(database=SecretStr(_uri_of(postgres, "template"))))
    return "template"


@pytest.fixture
def database_settings(postgres: str, _template: str) -> Iterator[DatabaseSettings]:
    """A database of this test's own, migrated and empty."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(_template))
        )
        yield DatabaseSettings(database=SecretStr(_uri_of(postgres, name)))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _uri_of(postgres: str, name: str) -> str:
    return postgres.replace(f"/{DATABASE}?", f"/{name}?")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running embedded broker, `host:port`. One a run: use topics or ids of your own."""
    log = tmp_path_factory.mktemp("broker") / "broker.log"
    with embedded_broker("127.0.0.1", free_port(), log=log) as address:
        yield address


@pytest.fixture(scope="session")
def photos_dir() -> Path:
    """The labelled photos, which lie beside the checkout and are no part of it."""
    if not (PHOTOS / "labels.csv").exists():
        pytest.skip(f"the labelled photos are not there: {PHOTOS}")
    return PHOTOS


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> "FaceEngine":
    """The starter pack at its default settings, prepared anew for the run."""
    from facepass.embedding import open_engine  # noqa: PLC0415 - slow to import, not every run needs it

    return open_engine(ModelSettings(cache_dir=tmp_path_factory.mktemp("packs")))


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running Apache Kafka. One a run: use topics or ids of your own."""
    with apache_kafka_for_tests(tmp_path_factory.mktemp("kafka")) as address:
        yield address


@pytest.fixture(params=["embedded", "apache"])
def broker(request: pytest.FixtureRequest) -> str:
    """Address of each kind of broker in turn, for contract tests."""
    address: str = request.getfixturevalue("kafka" if request.param == "embedded" else "apache")
    return address


@pytest.fixture
def log_lines() -> Iterator[StringIO]:
    """What is logged during the test, at every level, as JSON lines."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = StringIO()
    set_up_logs(LogSettings(log_format="json", log_level="debug"), stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[str]:
    """Lines for the end of the run: what was measured, such as recall, margins, tables."""
    return pytestconfig.stash.setdefault(_FIGURES, [])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker process of pytest-xdist hands its lines to the process that prints the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = session.config.stash.get(_FIGURES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over a worker's lines."""
    lines = getattr(node, "workeroutput", {}).get("figures", [])
    node.config.stash.setdefault(_FIGURES, []).extend(lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(_FIGURES, []):
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The whole system, one a run: embedded PostgreSQL and broker, intake, ingest and serve as processes."""
    from facepass.local.stack import StackOptions, local_stack  # noqa: PLC0415 - slow to import

    photos = tmp_path_factory.mktemp("photos")
    connections = tmp_path_factory.mktemp("audit") / "connections"
    api_key = secrets.token_urlsafe(32)
    options = StackOptions(
        host="127.0.0.1",
        port=free_port(),
        kafka_port=free_port(),
        data_dir=tmp_path_factory.mktemp("stack"),
        photos=str(photos),
    )
    with ExitStack() as running:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(
                "PYTHONPATH", str(Path(__file__).with_name("support") / "audit"), prepend=os.pathsep
            )
            environment.setenv("FACEPASS_TEST_CONNECTIONS", str(connections))
            environment.setenv("FACEPASS_SWEEP_SECONDS", "1")
            environment.setenv("FACEPASS_API_KEYS", api_key)
            environment.setenv("FACEPASS_LIMIT_INDEX", "off")
            stack = running.enter_context(local_stack(options, report=lambda _: None))
        yield Running(
            http=stack.http,
            control=stack.control,
            api_key=api_key,
            kafka=stack.kafka.kafka,
            database=stack.database.database.get_secret_value(),
            photos=photos,
            logs=stack.logs,
            connections=connections,
        )
