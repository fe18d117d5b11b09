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
from faults.reading import Vectors
from faults.suite import OpenScene, Scene, open_scene

from facepass.local.apache_kafka import missing_for_apache_kafka


def _seed() -> int:
    """Kept in the environment, so that workers that pytest starts take the same one."""
    # Handed on to worker processes under a name that no command takes for a setting of FacePass.
    drawn = os.environ.setdefault("FAULT_SEED", str(random.SystemRandom().randrange(1 << 32)))
    return int(os.environ.get("FACEPASS_FAULT_SEED", drawn))


SEED = _seed()

LONGEST = ("fault_01_kills", "fault_07_database", "fault_13_replicas", "fault_14_churn")


def pytest_report_header() -> str:
    return f"fault suite: FACEPASS_FAULT_SEED={SEED}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: where two files run side by side, none is left to run alone at the end for minutes."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


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
def stage(loop: LoopThread, pictures: dict[str, Picture], seed: int) -> OpenScene:
    """Opens a scene; only the first makes the run without faults that all compare with."""
    reference: dict[str, Vectors] = {}
    randomness = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
    return lambda home, *, routes=1: open_scene(home, loop, pictures, randomness, reference, routes=routes)


@pytest.fixture(scope="session")
def _shared(directory: Path, stage: OpenScene) -> Iterator[Scene]:
    with stage(directory / "shared") as scene:
        yield scene


@pytest.fixture
def scene(_shared: Scene, randomness: random.Random) -> Iterator[Scene]:
    """The scene of all tests that leave the servers well; sessions of the test's own are `scene.session()`."""
    yield _shared.begin(randomness)
    _shared.end()
