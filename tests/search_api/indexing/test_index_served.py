"""Index calls of a real server: Pixora's client under the rate limit, and a serving process without Kafka."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from support.index_workers import KEY, Workers, faces_of, settle
from support.live_server import live_server
from support.pixora_client import pixora
from support.samples import astronaut_png
from support.search_stack import open_search_stack
from support.streams_support import read_topic, with_topics

from facepass.embedding import FaceEngine
from facepass.local.broker import embedded_broker
from facepass.local.ports import free_port
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.settings import AccessSettings, DatabaseSettings

PATIENCE_SECONDS = 120.0


async def test_pixoras_retries_get_through_the_limit(
    database_settings: DatabaseSettings, engine: FaceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    workers = Workers()
    access = AccessSettings(api_keys=KEY, limit_index="2/second")
    async with (
        open_search_stack(database_settings, engine, access=access, events=workers) as stack,
        live_server(stack.app) as url,
    ):
        guide = pixora(f"{url}/api/v1", KEY)
        waits: list[float] = []
        guide.time = SimpleNamespace(sleep=lambda seconds: (waits.append(seconds), time.sleep(1.1)))
        facepass = guide.FacePassClient(guide.FACEPASS_API_URL, guide.FACEPASS_API_KEY)
        call = asyncio.create_task(asyncio.to_thread(facepass.index_photo, "p", "s", "a.jpg"))
        event = await workers.next_photo()
        stack.parts.results.note(await settle(stack.parts, event, found=faces_of(engine, astronaut_png())))
        first = await call

        def index_often() -> list[dict[str, object]]:
            one = [guide.call_with_retry(lambda: facepass.index_photo("p", "s", "a.jpg")) for _ in range(6)]
            many = [guide.safe_index_batch("s", [{"photo_id": "p", "s3_key": "a.jpg"}]) for _ in range(6)]
            assert all((batch["indexed"], batch["failed"]) == (1, 0) for batch in many)
            return one

        assert await asyncio.to_thread(index_often) == [first] * 6
        assert {1, 60} <= set(waits), "both of the guide's ways to wait were needed"
        with pytest.raises(Exception, match="Authentication failed"):
            await asyncio.to_thread(pixora(f"{url}/api/v1", "wrong").safe_index_batch, "s", [])


@contextmanager
def serving(database: DatabaseSettings, kafka_port: int, directory: Path) -> Iterator[str]:
    """`facepass serve` as a process; its address."""
    port = free_port()
    environment = os.environ | {
        "FACEPASS_DATABASE": database.database.get_secret_value(),
        "FACEPASS_KAFKA": f"127.0.0.1:{kafka_port}",
        "FACEPASS_KAFKA_IDEMPOTENCE": "false",
        "FACEPASS_PHOTOS": str(directory),
        "FACEPASS_API_KEYS": KEY,
        "FACEPASS_LIMIT_INDEX": "off",
        "FACEPASS_INDEX_WAIT_SECONDS": "0.5",
    }
    with (directory / "serve.log").open("wb") as log:
        arguments = [sys.executable, "-m", "facepass", "serve", "--port", str(port)]
        process = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


async def answered(client: httpx.AsyncClient, request: httpx.Request, status: int) -> httpx.Response:
    """The answer, once it has this status."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = answer = await client.send(request)
            if answer.status_code == status:
                return answer
        except httpx.TransportError as exc:
            last = exc
        await asyncio.sleep(0.2)
    raise AssertionError(f"no {status}: {last}")


async def test_serve_starts_and_searches_without_kafka_and_indexes_once_it_is_there(
    database_settings: DatabaseSettings, tmp_path: Path
) -> None:
    kafka_port = free_port()
    with serving(database_settings, kafka_port, tmp_path) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            await answered(client, client.build_request("GET", "/ready"), 200)
            form = {"session_id": "s"}
            search = await client.post("/api/v1/search", data=form, files={"file": astronaut_png()})
            assert (search.status_code, search.json()["code"]) == (404, "session_not_found")

            body = {"photo_id": "p", "session_id": "s", "s3_key": "a.jpg"}
            index = client.build_request("POST", "/api/v1/index", json=body, headers={"X-API-Key": KEY})
            refused = await client.send(index)
            assert (refused.status_code, refused.json()["code"]) == (503, "broker_unavailable")

            with embedded_broker("127.0.0.1", kafka_port, log=tmp_path / "broker.log") as address:
                await with_topics(address)
                await answered(client, index, 202)
                (record,) = await read_topic(address, PhotoIndexed.topic)
                assert b'"photo_id":"p"' in (record.value or b"")
