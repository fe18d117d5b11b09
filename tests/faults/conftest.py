"""One world for the tests that can share it, one of its own for those that break the servers."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.loop_thread import LoopThread
from faults.pictures import Picture, make_pictures
from faults.suite import Scene, open_scene

from facepass.ops.local.apache_kafka import missing_for_apache_kafka


def _seed() -> int:
    given = os.environ.get("FACEPASS_FAULT_SEED")
    return int(given) if given else random.SystemRandom().randrange(1 << 32)


SEED = _seed()


def pytest_report_header() -> str:
    return f"fault suite: FACEPASS_FAULT_SEED={SEED}"


@pytest.fixture(scope="session")
def seed() -> int:
    """Of the whole run; each test makes a generator of its own from it and its name."""
    return SEED


@pytest.fixture
def randomness(seed: int, request: pytest.FixtureRequest) -> random.Random:
    return random.Random(f"{seed} {request.node.name}")  # noqa: S311 - to be repeatable, not secret


@pytest.fixture(scope="session")
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(scope="session")
def pictures() -> dict[str, Picture]:
    return make_pictures()


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """Short, so that PostgreSQL's socket fits; removed at the end unless FACEPASS_FAULT_KEEP=1."""
    if missing := missing_for_apache_kafka():
        pytest.skip(missing)
    made = Path(tempfile.mkdtemp(prefix="fp-"))
    # PostgreSQL runs as another user where the suite runs as root.
    made.chmod(0o755)
    yield made
    if os.environ.get("FACEPASS_FAULT_KEEP") != "1":
        shutil.rmtree(made)


@pytest.fixture(scope="session")
def _shared(directory: Path, loop: LoopThread, pictures: dict[str, Picture], seed: int) -> Iterator[Scene]:
    randomness = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
    with open_scene(directory / "shared", loop, pictures, randomness) as scene:
        yield scene


@pytest.fixture
def scene(_shared: Scene, randomness: random.Random) -> Iterator[Scene]:
    """Healthy servers and no process yet; sessions of the test's own, which it takes from `scene.session()`."""
    yield _shared.begin(randomness)
    _shared.end()
