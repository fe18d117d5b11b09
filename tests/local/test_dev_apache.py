"""`facepass dev --kafka apache`: topics outlive it and nothing else does; what is missing is named at once."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from support.dev_process import command, running_dev
from support.streams_support import read_topic

from facepass.local.apache_kafka import missing_for_apache_kafka
from facepass.local.demo.samples import write_samples
from facepass.local.kafka_kinds import KafkaKind
from facepass.local.ports import free_port
from facepass.schemas.events import PhotoIndexed

JAVA_PACKAGE = "Debian: openjdk-17-jre-headless"
MAVEN_PACKAGE = "Debian: maven"


@pytest.mark.timeout(400)
async def test_topics_are_there_after_a_kill_and_a_restart(tmp_path: Path) -> None:
    if missing := missing_for_apache_kafka():
        pytest.skip(missing)
    session = write_samples(tmp_path)
    selfie = session.selfies[0].path
    with running_dev(tmp_path / "data", session.photos_dir, kafka=KafkaKind.APACHE) as dev:
        assert [line for line in dev.lines if line.startswith("ready")] == [f"ready {dev.url}"]
        assert any(f"{dev.kafka.kafka} (Apache Kafka;" in line for line in dev.lines)
        await dev.publish("wedding", "a", "astronaut.png")
        dev.search_until("wedding", selfie, "a")
        status, _, _ = dev.end(signal.SIGKILL)
        assert status == -signal.SIGKILL
    with running_dev(tmp_path / "data", session.photos_dir, kafka=KafkaKind.APACHE) as dev:
        kept = await read_topic(dev.kafka.kafka, PhotoIndexed.topic)
        assert [record.key for record in kept] == [b"a"]
        await dev.publish("wedding", "b", "astronaut.png")
        dev.search_until("wedding", selfie, "b")
        status, output, errors = dev.end(signal.SIGTERM)
        assert (status, output, errors) == (0, "", "")


@pytest.mark.parametrize(
    ("java", "named"),
    [(None, JAVA_PACKAGE), ("11.0.2", JAVA_PACKAGE), ("17.0.2", MAVEN_PACKAGE)],
    ids=["without Java", "with an old Java", "without Maven"],
)
def test_what_is_missing_is_named_before_anything_is_started(tmp_path: Path, java: str | None, named: str) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    if java:
        sh = shutil.which("sh")
        _program(programs / "java", f"#!{sh}\necho 'openjdk version \"{java}\"' >&2\n")
    result = _dev(tmp_path, PATH=str(programs))
    assert result.returncode == 1
    assert result.stdout == ""
    assert "--kafka apache" in result.stderr
    assert named in result.stderr
    assert result.stderr.count("\n") == 1, "one line, no traceback"


def test_what_maven_says_is_passed_on(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    sh = shutil.which("sh")
    _program(programs / "java", f"#!{sh}\necho 'openjdk version \"17\"' >&2\n")
    _program(programs / "mvn", f"#!{sh}\necho the network is down\nexit 1\n")
    result = _dev(tmp_path, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert result.returncode == 1
    assert "fetching Apache Kafka by Maven" in result.stdout
    assert "Maven failed" in result.stderr
    assert "the network is down" in result.stderr
    assert "Traceback" not in result.stderr


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _dev(directory: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`facepass dev --kafka apache` that is not to come far; without the jars that other runs have fetched."""
    photos = directory / "photos"
    photos.mkdir()
    return subprocess.run(
        command(directory / "data", photos, port=free_port(), kafka_port=free_port(), kafka=KafkaKind.APACHE),
        env=os.environ | {"XDG_CACHE_HOME": str(directory / "cache")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
