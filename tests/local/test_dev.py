"""`facepass dev` as a process: ready, restart, stop, and the ways in which it may end."""

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from support.dev_process import DevProcess, command, running_dev

from facepass.local.demo.samples import Session, write_samples
from facepass.local.ports import check_port, free_port


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return write_samples(tmp_path_factory.mktemp("samples"))


SETTINGS_KEY = "settings-key-0123456789-0123456789"


def asks_for_photos(dev: DevProcess, key: str) -> int:
    """A call that needs a key."""
    url = f"{dev.url}/api/v1/sessions/unknown/photos"
    return httpx.get(url, headers={"X-API-Key": key}, timeout=30).status_code


def files_with(directory: Path, text: str) -> list[Path]:
    return [file for file in directory.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]


async def test_indexes_stops_restarts_and_reports_a_dead_process(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    selfie = session.selfies[0].path
    monkeypatch.setenv("FACEPASS_API_KEYS", SETTINGS_KEY)
    with running_dev(tmp_path, session.photos_dir) as dev:
        assert [line for line in dev.lines if line.startswith("ready")] == [f"ready {dev.url}"]
        assert any(dev.kafka.kafka in line and "enable.idempotence=false" in line for line in dev.lines)
        assert any(str(tmp_path / "logs") in line for line in dev.lines)
        assert any(line.startswith("control     http://127.0.0.1:") for line in dev.lines)
        assert not any("api key" in line or SETTINGS_KEY in line for line in dev.lines)
        assert asks_for_photos(dev, SETTINGS_KEY) == 404
        await dev.publish("wedding", "a", "astronaut.png")
        dev.search_until("wedding", selfie, "a")
        status, output, errors = dev.end(signal.SIGTERM)
        assert (status, output, errors) == (0, "", "")
    monkeypatch.delenv("FACEPASS_API_KEYS")
    with running_dev(tmp_path, session.photos_dir) as dev:
        assert [match["photo_id"] for match in dev.search("wedding", selfie)["matches"]] == ["a"]
        (key,) = [line.removeprefix("api key ") for line in dev.lines if line.startswith("api key ")]
        assert dev.lines[-2] == f"api key {key}"  # the first start without a key of the settings made one
        assert [asks_for_photos(dev, one) for one in (key, SETTINGS_KEY)] == [404, 401]
        dev.member("tansu").kill()
        status, _, errors = dev.wait()
        assert status == 1
        assert "broker ended with status -9" in errors
        assert "listening on" in errors
    assert files_with(tmp_path, key) == []


def test_two_side_by_side_and_a_kill(tmp_path: Path, session: Session) -> None:
    with ExitStack() as stack:
        one = stack.enter_context(running_dev(tmp_path / "one", session.photos_dir))
        two = stack.enter_context(running_dev(tmp_path / "two", session.photos_dir))
        third = subprocess.run(
            command(tmp_path / "one", session.photos_dir, port=free_port(), kafka_port=free_port()),
            capture_output=True,
            text=True,
            check=False,
        )
        assert third.returncode == 1
        assert f"--data-dir: another FacePass is running on {tmp_path / 'one'}" in third.stderr
        one.process.kill()
        one.wait()
        assert httpx.get(f"{two.url}/ready").status_code == 200
        status, _, _ = two.end(signal.SIGINT)
        assert status == 0
        check_port("127.0.0.1", int(two.url.rsplit(":", 1)[1]), "--port")


def test_stop_while_starting_leaves_nothing(tmp_path: Path, session: Session) -> None:
    arguments = command(tmp_path, session.photos_dir, port=free_port(), kafka_port=free_port())
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting PostgreSQL\n"
        assert process.stdout.readline() == "starting the broker\n"
        process.send_signal(signal.SIGTERM)
        assert "ready" not in process.stdout.read()
    assert process.returncode == 0
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()
