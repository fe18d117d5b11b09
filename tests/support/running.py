"""A running stack as its users see it: publish with a Kafka client, ask over HTTP."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer

PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where everything is.

    Attributes:
        control: the control port of serve.
        api_key: with every scope, and without limits.
        photos: the photo store's directory: tests write into folders of their own.
        connections: a file that lists what its processes connected to (see `audit/sitecustomize.py`).
    """

    http: str
    control: str
    api_key: str
    kafka: str
    database: str
    photos: Path
    logs: Path
    connections: Path

    def environment(self) -> dict[str, str]:
        """For a command that works on this system."""
        return os.environ | {
            "FACEPASS_DATABASE": self.database,
            "FACEPASS_KAFKA": self.kafka,
            "FACEPASS_KAFKA_IDEMPOTENCE": "false",
            "FACEPASS_PHOTOS": str(self.photos),
        }

    def facepass(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of `facepass` on this system."""
        return subprocess.run(
            [sys.executable, "-m", "facepass", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.http, trust_env=False, timeout=60.0)

    def publish(self, topic: str, values: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Publish (key, fields) pairs as Pixora does: JSON, plain Kafka client."""
        asyncio.run(self._publish(topic, list(values)))

    async def _publish(self, topic: str, values: list[tuple[str, dict[str, Any]]]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all")
        await producer.start()
        try:
            await asyncio.gather(
                *[
                    await producer.send(topic, json.dumps(fields).encode(), key=key.encode())
                    for key, fields in values
                ]
            )
        finally:
            await producer.stop()

    def publish_photos(self, session_id: str, photos: dict[str, str]) -> None:
        """Publish `photo-indexed` for photo id to S3 key."""
        self.publish(
            "photo-indexed",
            [
                (photo_id, {"photo_id": photo_id, "session_id": session_id, "s3_key": key})
                for photo_id, key in photos.items()
            ],
        )

    def status(self, session_id: str) -> dict[str, Any]:
        with self.client() as client:
            answer = client.get(f"/api/v1/search/status/{session_id}")
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def wait_until_settled(self, session_id: str, photo_count: int, *, patience: float = PATIENCE_SECONDS) -> None:
        """Wait until the session has no pending photo and `photo_count` photos with faces."""
        deadline = time.monotonic() + patience
        while (now := self.status(session_id))["pending"] or now["photo_count"] != photo_count:
            assert time.monotonic() < deadline, f"not settled after {patience} s: {now}"
            time.sleep(0.1)

    def search(self, session_id: str, selfie: bytes, **fields: str) -> dict[str, Any]:
        with self.client() as client:
            answer = client.post(
                "/api/v1/search", files={"file": selfie}, data={"session_id": session_id, **fields}
            )
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result


def new_session(prefix: str = "session") -> str:
    return f"{prefix}-{uuid.uuid4().hex}"


def found(answer: dict[str, Any]) -> set[str]:
    return {match["photo_id"] for match in answer["matches"]}
