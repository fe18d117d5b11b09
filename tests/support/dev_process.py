"""`facepass dev` as a process, and what a client does with it."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from facepass.local.kafka_kinds import KafkaKind
from facepass.local.ports import free_port
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.publisher import open_publisher

STOP_SECONDS = 60.0
"""Longer than any stop takes on a busy machine; only a process that hangs is slower."""


@dataclass
class DevProcess:
    """A running `facepass dev`: its process, all processes that it started, and what it printed to `ready`."""

    process: "subprocess.Popen[str]"
    family: list[psutil.Process]
    lines: list[str]
    url: str
    kafka: KafkaSettings

    def member(self, name: str) -> psutil.Process:
        return next(one for one in self.family if one.name() == name)

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal; returns exit status, further output and errors. All of the family must be gone then."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=STOP_SECONDS)
        # After kill -9 the kernel stops the children, which takes them a moment.
        _, alive = psutil.wait_procs(self.family, timeout=STOP_SECONDS)
        assert alive == [], f"still running: {alive}"
        return self.process.returncode, output, errors

    def search(self, session_id: str, selfie: Path) -> dict[str, Any]:
        with selfie.open("rb") as file:
            answer = httpx.post(
                f"{self.url}/api/v1/search", files={"file": file}, data={"session_id": session_id}, timeout=30
            )
        found: dict[str, Any] = answer.json()
        return found

    def search_until(self, session_id: str, selfie: Path, photo_id: str) -> None:
        """Search until the photo is found; the test's own time limit ends it otherwise."""
        while photo_id not in [match["photo_id"] for match in self.search(session_id, selfie).get("matches", [])]:
            assert self.process.poll() is None
            time.sleep(0.2)

    async def publish(self, session_id: str, photo_id: str, s3_key: str) -> None:
        event = PhotoIndexed.model_validate(
            {
                "session_id": SessionId(session_id),
                "photo_id": PhotoId(photo_id),
                "s3_key": s3_key,
                "occurred_at": "2026-05-09T12:30:00Z",
            }
        )
        async with open_publisher(self.kafka) as publisher:
            await publisher.publish(event)


def command(
    data_dir: Path, photos: Path, *, port: int, kafka_port: int, kafka: KafkaKind = KafkaKind.EMBEDDED
) -> list[str]:
    options = {"--port": port, "--kafka-port": kafka_port, "--data-dir": data_dir, "--photos": photos}
    options |= {"--kafka": kafka}
    arguments = [str(part) for option in options.items() for part in option]
    return [sys.executable, "-m", "facepass", "dev", *arguments]


@contextmanager
def running_dev(data_dir: Path, photos: Path, *, kafka: KafkaKind = KafkaKind.EMBEDDED) -> Iterator[DevProcess]:
    """Start it on free ports and wait for `ready`; kill whatever the test left."""
    port, kafka_port = free_port(), free_port()
    process = subprocess.Popen(
        command(data_dir, photos, port=port, kafka_port=kafka_port, kafka=kafka),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    family: list[psutil.Process] = []
    try:
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("ready"):
                break
        else:
            raise AssertionError(process.communicate())
        family += psutil.Process(process.pid).children(recursive=True)
        broker = KafkaSettings(kafka=f"127.0.0.1:{kafka_port}", kafka_idempotence=kafka is not KafkaKind.EMBEDDED)
        yield DevProcess(process=process, family=family, lines=lines, url=f"http://127.0.0.1:{port}", kafka=broker)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        psutil.wait_procs(family, timeout=STOP_SECONDS)
