"""The API behind a real server: uploads that stay in RAM, refusals while streaming, and Pixora's own client."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

import cv2
import httpx
import numpy as np
import pytest
import requests
from support.live_server import live_server
from support.samples import astronaut_png
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.settings import DatabaseSettings, SearchSettings

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class _OpenedFiles:
    """Files opened for writing while `watching`. An audit hook stays for the life of the process."""

    def __init__(self) -> None:
        self.watching = False
        self.paths: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, name: str, arguments: tuple[object, ...]) -> None:
        if self.watching and name == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            self.paths.append(str(arguments[0]))


@pytest.fixture(scope="module")
def opened_files() -> _OpenedFiles:
    return _OpenedFiles()


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


@pytest.fixture
async def url(stack: SearchStack) -> AsyncIterator[str]:
    async with live_server(stack.app) as base:
        yield base


def large_selfie() -> bytes:
    """The portrait in a field of noise, which does not compress: a PNG of nearly 10 MB."""
    pixels = np.random.default_rng(7).integers(0, 256, (1800, 1800, 3), np.uint8)
    face = cv2.imdecode(np.frombuffer(astronaut_png(), np.uint8), cv2.IMREAD_COLOR)
    pixels[: 3 * 512, : 3 * 512] = cv2.resize(face, None, fx=3, fy=3)
    encoded = bytes(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1])
    assert 9_000_000 < len(encoded) < 10_000_000
    return encoded


async def test_a_selfie_of_nearly_the_limit_never_opens_a_file(
    stack: SearchStack, url: str, opened_files: _OpenedFiles
) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    selfie = large_selfie()
    await stack.search("s1", astronaut_png())
    async with httpx.AsyncClient() as client:
        opened_files.watching = True
        try:
            response = await client.post(
                f"{url}/api/v1/search", files={"file": selfie}, data={"session_id": "s1"}, timeout=60
            )
        finally:
            opened_files.watching = False
    assert response.json()["total_matches"] == 1
    assert opened_files.paths == []


def _multipart_head() -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'


@pytest.mark.parametrize("framing", ["chunked", "content-length"])
async def test_an_upload_over_the_limit_is_refused_before_it_ends(url: str, framing: str) -> None:
    """The client offers 200 MB and counts what the server takes until it has answered and hung up."""
    offered = 200_000_000
    head = "POST /api/v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n" if framing == "chunked" else f"Content-Length: {offered}\r\n\r\n"
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.transport.set_write_buffer_limits(high=0)
    writer.write(head.encode())
    answering = asyncio.create_task(reader.readuntil(b"}}"))
    sent = 0
    block = b"x" * 65536
    try:
        while sent < offered:
            data = (_multipart_head() if not sent else b"") + block
            writer.write(b"%x\r\n%b\r\n" % (len(data), data) if framing == "chunked" else data)
            await writer.drain()
            sent += len(data)
    except ConnectionError:
        pass
    answer = await answering
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"file_too_large"' in answer
    assert sent < 30_000_000


@pytest.mark.parametrize("path", ["/api/v1/search", "/nowhere", "/api/v1/search/status/s1"])
async def test_a_client_that_is_refused_early_sees_why(url: str, path: str) -> None:
    """`requests` sends its whole body before it reads: a connection reset on the way would hide the answer."""
    response = await asyncio.to_thread(
        requests.post, f"{url}{path}", files={"file": bytes(12_000_000)}, data={"session_id": "s1"}, timeout=30
    )
    assert response.status_code in {413, 404, 405}
    assert response.json()["code"] in {"file_too_large", "not_found", "method_not_allowed"}


async def test_a_client_that_goes_away_frees_its_slot(
    database_settings: DatabaseSettings, engine: FaceEngine
) -> None:
    one = SearchSettings(searches_at_once=1)
    async with open_search_stack(database_settings, engine, search=one) as stack, live_server(stack.app) as url:
        await stack.index("s1", {"me": astronaut_png()})
        reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        writer.write(
            b"POST /api/v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await stack.search("s1", astronaut_png())).status_code == 503
        writer.transport.abort()
        while (response := await stack.search("s1", astronaut_png())).status_code == 503:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert response.json()["total_matches"] == 1


class FacePassClient:
    """Pixora's client as it is deployed: its search and its status, word for word."""

    def __init__(self, api_url: str, api_key: str) -> None:
        self.api_url = api_url
        self.api_key = api_key
        self.headers = {"X-API-Key": api_key}

    def search_faces(
        self, session_id: str, selfie_data: bytes, threshold: float = 0.7, limit: int = 1000
    ) -> dict[str, object]:
        response = requests.post(  # noqa: S113 - as deployed
            f"{self.api_url}/search",
            files={"file": selfie_data},
            data={"session_id": session_id, "threshold": threshold, "limit": limit},
        )
        response.raise_for_status()
        return response.json()

    def get_session_status(self, session_id: str) -> dict[str, object]:
        response = requests.get(f"{self.api_url}/search/status/{session_id}")  # noqa: S113 - as deployed
        response.raise_for_status()
        return response.json()


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_pixoras_client_works_as_it_is(stack: SearchStack, url: str, version: str) -> None:
    client = FacePassClient(f"{url}/api/{version}", "your-secure-api-key")
    status = await asyncio.to_thread(client.get_session_status, "4711")
    assert not status["indexed"]
    await stack.index("4711", {"815": astronaut_png()})
    status = await asyncio.to_thread(client.get_session_status, 4711)
    assert status["indexed"]
    results = await asyncio.to_thread(
        client.search_faces, session_id=4711, selfie_data=astronaut_png(), threshold=0.7
    )
    assert [match["photo_id"] for match in results["matches"]] == ["815"]
    assert results["matches"][0]["similarity"] > 0.9
    assert results["matches"][0]["confidence"] > 0.5
    assert results["query_time_ms"] > 0
    with pytest.raises(requests.HTTPError) as caught:
        await asyncio.to_thread(client.search_faces, "unknown", astronaut_png())
    assert caught.value.response.status_code == 404


SESSION_IDS = [
    *("a/b", "/a//b/", "a b?c#d%2F", "свадьба 💍", "a\nb", "a\n", "\n", "a"),
    *("'; DROP TABLE sessions; --", "\u202eabc", "\ufffd"),
]


async def test_any_session_id_survives_the_path(stack: SearchStack, url: str) -> None:
    for photos, session_id in enumerate(SESSION_IDS, 1):
        await stack.register(session_id, *map(str, range(photos)))
    async with httpx.AsyncClient() as client:
        for photos, session_id in enumerate(SESSION_IDS, 1):
            status = await client.get(f"{url}/api/v1/search/status/{quote(session_id, safe='')}")
            assert status.status_code == 200, status.text
            assert (status.json()["session_id"], status.json()["pending"]) == (session_id, photos)
