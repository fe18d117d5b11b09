"""The embedded parts: they answer, keep what they must, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from facepass.local.broker import answers, embedded_broker
from facepass.local.children import last_lines, start_child, stop_children
from facepass.local.ports import check_port, free_port
from facepass.local.postgres import embedded_postgres
from facepass.schemas.errors import PermanentError


def test_postgres_keeps_its_data_over_a_restart_and_has_pgvector(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            embedded_postgres(tmp_path / "data", log=tmp_path / "log") as uri,
            psycopg.connect(uri, autocommit=True) as connection,
        ):
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute("CREATE TABLE IF NOT EXISTS kept (v halfvec)")
            connection.execute("INSERT INTO kept VALUES ('[1,2]')")
            rows = connection.execute("SELECT count(*) FROM kept").fetchone()
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
    assert rows == (2,)


def test_postgres_log_does_not_quote_rows(tmp_path: Path) -> None:
    with (
        embedded_postgres(tmp_path / "data", log=tmp_path / "log", durable=False) as uri,
        psycopg.connect(uri, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE secrets (v text CHECK (v = ''))")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO secrets VALUES ('0.123456')")
    log = (tmp_path / "log").read_text()
    assert "violates check constraint" in log
    assert "0.123456" not in log


def test_postgres_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("12\n")
    with pytest.raises(PermanentError, match="PostgreSQL 12"), embedded_postgres(tmp_path, log=tmp_path / "log"):
        pass


@pytest.mark.parametrize("temporary_too", [False, True])
def test_postgres_in_a_directory_too_deep_for_a_socket(
    tmp_path: Path, temporary_too: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    if temporary_too:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 120)))
    with embedded_postgres(deep, log=tmp_path / "log", durable=False) as uri, psycopg.connect(uri) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_broker_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    port = free_port()
    assert not answers("127.0.0.1", port)
    with embedded_broker("127.0.0.1", port, log=tmp_path / "log") as address:
        assert address == f"127.0.0.1:{port}"
        assert answers("127.0.0.1", port)
        with pytest.raises(PermanentError, match=f"--port: cannot listen on 127.0.0.1:{port}"):
            check_port("127.0.0.1", port, "--port")
    assert not answers("127.0.0.1", port)
    check_port("127.0.0.1", port, "--port")


def test_a_child_dies_with_its_killed_parent(tmp_path: Path) -> None:
    """Also PostgreSQL and the broker, which a killed process cannot stop itself."""
    program = f"""
import pathlib, time
from facepass.local.broker import embedded_broker
from facepass.local.children import start_child
from facepass.local.postgres import embedded_postgres
here = pathlib.Path({str(tmp_path)!r})
with (embedded_postgres(here / "data", log=here / "p", durable=False),
      embedded_broker("127.0.0.1", {free_port()}, log=here / "b")):
    start_child("sleeper", ["sleep", "600"], log=here / "s")
    print("up", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"up\n"
            family = psutil.Process(parent.pid).children(recursive=True)
        finally:
            parent.kill()
    assert len(family) >= 3
    _, alive = psutil.wait_procs(family, timeout=20)
    for survivor in alive:
        survivor.kill()
    assert alive == []


def test_a_child_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(600)"
    )
    child = start_child("deaf", [sys.executable, "-c", program], log=tmp_path / "log")
    while "deaf" not in last_lines(child.log):
        time.sleep(0.01)
    assert stop_children([child], patience=0.2) == ["deaf"]
    assert child.process.returncode == -signal.SIGKILL
    assert not psutil.pid_exists(child.process.pid)


def test_a_child_gets_a_process_group_of_its_own(tmp_path: Path) -> None:
    child = start_child("sleeper", ["sleep", "600"], log=tmp_path / "log")
    assert os.getpgid(child.process.pid) != os.getpgid(0)
    assert stop_children([child], patience=5) == []
