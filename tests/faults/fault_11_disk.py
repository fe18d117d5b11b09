"""The disk of PostgreSQL, or of the broker, is full for a while: on a small file system of its own."""

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.suite import OpenScene, Scene

SIZE = "600m"
FULL_SECONDS = 12.0


@contextmanager
def _small_disk(mount: Path) -> Iterator[None]:
    mount.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(mount)],  # noqa: S607 - as any administrator's
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here (it needs root): {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)  # noqa: S607


@pytest.fixture
def cramped(
    directory: Path, stage: OpenScene, randomness: random.Random, request: pytest.FixtureRequest
) -> Iterator[tuple[Scene, Path]]:
    """A scene of which one server has a disk of its own."""
    home = directory / f"full-{request.param}"
    with _small_disk(home / request.param), stage(home) as scene:
        yield scene.begin(randomness), home / request.param


def _fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while True:
            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), 1 << 20)
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cramped", ["pg"], indirect=True)
def test_no_space_left_for_postgresql(cramped: tuple[Scene, Path]) -> None:
    scene, disk = cramped
    workers = [scene.world.intake(), scene.world.ingest()]
    session = scene.session("full")
    scene.driver.index_many([(session, f"before-{number}", "everyone") for number in range(20)])
    scene.settle(60)
    ballast = _fill(disk)
    for turn in range(8):
        scene.driver.index_many([(session, f"during-{turn}-{number}", "everyone") for number in range(20)])
        time.sleep(FULL_SECONDS / 8)
    ballast.unlink()
    scene.world.postgres.start_if_down()
    scene.driver.index_many([(session, f"after-{number}", "lisa") for number in range(20)])
    scene.settle(120)
    assert [worker.status for worker in workers] == [None, None], scene.tails()
    scene.check_searches(scene.world.serve().wait_until_ready(), selfie="lisa")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cramped", ["kafka"], indirect=True)
def test_no_space_left_for_the_broker(cramped: tuple[Scene, Path]) -> None:
    scene, disk = cramped
    workers = [scene.world.intake(), scene.world.ingest()]
    session = scene.session("full")
    scene.driver.index_many([(session, f"before-{number}", "lisa") for number in range(20)])
    scene.settle(60)
    scene.driver.index_many([(session, f"under-way-{number}", "lisa") for number in range(60)])
    ballast = _fill(disk)
    time.sleep(FULL_SECONDS)
    ballast.unlink()
    # A broker whose only directory fails ends itself; what runs it starts it again.
    scene.world.kafka.broker.kill()
    scene.world.kafka.broker.start()
    scene.driver.index_many([(session, f"after-{number}", "lisa") for number in range(20)])
    scene.settle(150)
    assert [worker.status for worker in workers] == [None, None], scene.tails()
