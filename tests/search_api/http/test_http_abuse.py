"""Callers who mean harm, or whose programs are broken: good searches go on being answered, and rightly."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from itertools import chain, repeat
from random import Random

import httpx
import pytest
from support.live_server import live_server
from support.raw_http import (
    FORM,
    Answer,
    form_request,
    loop_lag,
    open_to,
    part,
    request,
    search_body,
    send,
    send_on,
)
from support.samples import astronaut_jpeg, group_jpeg
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.settings import AccessSettings, DatabaseSettings, SearchSettings

BUSY_SECONDS = 0.5
"""Processor time that the loop may spend before it lets another task run; idle it is a few milliseconds. An attack
that is not bounded keeps it for many seconds."""

SLOTS = 8
BLOCK = 65536

Found = tuple[tuple[str, float], ...]
"""Photo ids and similarities of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Three sessions behind a real server: `with-me` and `me-too` show the astronaut, `others` does not."""

    stack: SearchStack
    url: str

    async def found(self, session_id: str, selfie: bytes) -> Found | None:
        """What a search finds; None when it is refused as it should be, because others are under way."""
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(
                f"{self.url}/api/v1/search", files={"file": selfie}, data={"session_id": session_id}
            )
        if answer.status_code == 503:
            assert answer.json()["code"] == "overloaded"
            assert int(answer.headers["retry-after"]) > 0
            return None
        assert answer.status_code == 200, answer.text
        return tuple((match["photo_id"], match["similarity"]) for match in answer.json()["matches"])

    async def answers_well(self) -> None:
        """A good search, which nothing holds up, is answered."""
        found = await self.found("with-me", astronaut_jpeg())
        assert found is not None
        assert [photo for photo, _ in found] == ["with-me/astronaut"]

    async def free_again(self) -> None:
        """As many searches as there are slots are answered at once, as soon as those that hold them are gone."""
        async with asyncio.timeout(60):
            while None in await asyncio.gather(*(self.found("others", group_jpeg()) for _ in range(SLOTS))):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@pytest.fixture
async def served(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[Served]:
    search, access = SearchSettings(searches_at_once=SLOTS), AccessSettings(limit_search="off")
    async with (
        open_search_stack(database_settings, engine, search=search, access=access) as stack,
        live_server(stack.app) as url,
    ):
        await stack.index("with-me", {"with-me/astronaut": astronaut_jpeg(), "with-me/group": group_jpeg()})
        await stack.index("me-too", {"me-too/astronaut": astronaut_jpeg()})
        await stack.index("others", {"others/group": group_jpeg()})
        served = Served(stack=stack, url=url)
        await served.answers_well()
        yield served


async def test_64_clients_at_once_are_answered_rightly_or_told_to_come_again(served: Served) -> None:
    calls = [(session, selfie) for session in ("with-me", "me-too", "others") for selfie in (0, 1)]
    selfies = (astronaut_jpeg(), group_jpeg())
    alone = {call: await served.found(call[0], selfies[call[1]]) for call in calls}
    assert {photo for found in alone.values() for photo, _ in found or ()} == {
        *("with-me/astronaut", "with-me/group", "me-too/astronaut", "others/group")
    }
    refused = 0

    async def client(number: int) -> None:
        nonlocal refused
        call = calls[number % len(calls)]
        while (found := await served.found(call[0], selfies[call[1]])) is None:
            refused += 1
            await asyncio.sleep(0.1)
        assert found == alone[call]

    await asyncio.gather(*map(client, range(64)))
    assert refused >= 64 - SLOTS


def get(*headers: str, path: str = "/api/v1/search/status/with-me") -> bytes:
    return request(*headers, line=f"GET {path} HTTP/1.1")


HEADERS: dict[str, tuple[Callable[[], bytes], int]] = {
    "one of 1 MB": (lambda: get("X-A: " + "a" * 1_000_000), 400),
    "100,000": (lambda: get(*repeat("X-A: a", 100_000)), 400),
    "as many as fit": (lambda: get(*repeat("X-A: a", 5_000)), 200),
    "a path of 1 MB": (lambda: get(path="/" + "a" * 1_000_000), 400),
    "a query of 50 KB": (lambda: get(path="/api/v1/search/status/with-me?" + "a=b&" * 12_500), 200),
    "a name with a space": (lambda: get("X A: a"), 400),
    "no colon": (lambda: get("X-A"), 400),
    "a NUL": (lambda: get("X-A: a\0b"), 400),
    "bytes that are not ASCII": (lambda: get("X-A: \xff\xfe", "X-Request-ID: \xe9"), 200),
    "two lengths": (lambda: request(FORM, "Content-Length: 3", "Content-Length: 4", body=b"abcd"), 400),
    "a length of letters": (lambda: request(FORM, "Content-Length: many"), 400),
    "a length below 0": (lambda: request(FORM, "Content-Length: -1"), 400),
    "a length beyond all": (lambda: request(FORM, "Content-Length: " + "9" * 19), 413),
    "an encoding that nobody has": (lambda: request(FORM, "Transfer-Encoding: gzip, chunked"), 400),
    "no HTTP at all": (lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n", 400),
    "a key of 50 KB": (
        lambda: get("X-API-Key: " + "k" * 50_000, path="/api/v1/sessions/with-me/photos"),
        401,
    ),
    "a token of 50 KB": (lambda: get("Authorization: Bearer " + "a.b." * 12_500), 200),
    "10,000 proxies": (lambda: get("X-Forwarded-For: " + "1.2.3.4," * 7_000), 200),
    "a content type of 50 KB": (
        lambda: request(f"{FORM}{'; a=b' * 10_000}", "Content-Length: 1", body=b"x"),
        422,
    ),
    "a content type of quotation marks": (
        lambda: request(FORM + ';a="' + '\\"' * 25_000, "Content-Length: 1", body=b"x"),
        422,
    ),
    "languages of 50 KB": (
        lambda: get("Accept-Language: " + "ru;q=0.1," * 5_500, path="/api/v1/sessions/with-me/interface"),
        200,
    ),
}


async def test_abused_headers(served: Served) -> None:
    """Each has the answer that is due, none holds up the loop, and none is a defect."""
    requests = {name: (make(), status) for name, (make, status) in HEADERS.items()}
    async with loop_lag() as lag:
        answers = {name: (await send(served.url, data)).status for name, (data, _) in requests.items()}
    assert answers == {name: status for name, (_, status) in requests.items()}
    assert lag.busy < BUSY_SECONDS
    await served.answers_well()


def many_parts() -> bytes:
    return b"".join(part(b'name="x%d"' % number, b"") for number in range(50_000)) + b"--b--\r\n"


def nested(session: str) -> bytes:
    inner = b"--c\r\nContent-Disposition: file\r\n\r\n" + astronaut_jpeg() + b"\r\n--c--"
    head = b'name="file"\r\nContent-Type: multipart/mixed; boundary=c'
    return part(b'name="session_id"', session.encode()) + part(head, inner) + b"--b--\r\n"


FILE = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'

BODIES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "50,000 parts": (many_parts, 422, "invalid_parameter"),
    "a field of 5 MB": (lambda: part(b'name="session_id"', b"x" * 5_000_000), 422, "invalid_parameter"),
    "a name of 5 MB": (lambda: part(b'name="' + b"x" * 5_000_000 + b'"', b""), 422, "invalid_parameter"),
    "multipart in multipart": (lambda: nested("with-me"), 415, "unsupported_image"),
    "a selfie of line ends": (lambda: FILE + b"\r\n" * 4_500_000 + b"\r\n--b--\r\n", 422, "invalid_parameter"),
    "a selfie of carriage returns": (lambda: FILE + b"\r" * 9_000_000, 422, "invalid_parameter"),
    "a selfie of beginnings of a boundary": (
        lambda: FILE + b"\r\n--" * 2_250_000,
        422,
        "invalid_parameter",
    ),
    "line ends before the first part": (lambda: b"\r\n" * 5_000_000, 422, "invalid_parameter"),
    "line ends after the last part": (
        lambda: search_body("with-me", b"x") + b"\r\n" * 5_000_000,
        422,
        "invalid_parameter",
    ),
}


def code_of(answer: Answer) -> str:
    return str(json.loads(answer.text.partition("\r\n\r\n")[2])["code"])


@pytest.mark.parametrize("name", BODIES)
async def test_abused_parts(served: Served, name: str) -> None:
    make, status, code = BODIES[name]
    data = form_request(make())
    async with loop_lag() as lag:
        answer = await send(served.url, data)
    assert (answer.status, code_of(answer)) == (status, code)
    assert lag.busy < BUSY_SECONDS
    await served.answers_well()


def chunked(head: bytes, block: bytes) -> Iterator[bytes]:
    """A chunked body without an end."""
    blocks = chain([head], repeat(block))
    return chain(
        [request(FORM, "Transfer-Encoding: chunked")],
        (b"%x\r\n%b\r\n" % (len(data), data) for data in blocks),
    )


ENDLESS: dict[str, tuple[Callable[[], Iterator[bytes]], int]] = {
    "part header": (lambda: chunked(b"--b\r\nX-A: ", b"a" * BLOCK), 422),
    "part headers": (lambda: chunked(b"--b\r\n", b"X-A: a\r\n" * 8192), 422),
    "parts": (lambda: chunked(b"", part(b'name="x"', b"") * 1000), 422),
    "beginning": (lambda: chunked(b"", b"\r\n" * (BLOCK // 2)), 422),
    "field": (lambda: chunked(b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n', b"a" * BLOCK), 422),
    "selfie": (lambda: chunked(FILE, b"\xff" * BLOCK), 413),
    "request header": (lambda: chain([b"GET / HTTP/1.1\r\nX-A: "], repeat(b"a" * BLOCK)), 400),
    "chunk size": (
        lambda: chain([request(FORM, "Transfer-Encoding: chunked")], repeat(b"0" * BLOCK)),
        400,
    ),
    "chunk extension": (
        lambda: chain([request(FORM, "Transfer-Encoding: chunked"), b"1;"], repeat(b"a" * BLOCK)),
        400,
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_what_never_ends_is_refused_while_it_is_sent(served: Served, name: str) -> None:
    make, status = ENDLESS[name]
    async with loop_lag() as lag:
        answer, sent = await send_on(served.url, make())
    assert sent < 100_000_000  # of what fits into the buffers between them most is never read
    assert answer.status == status, answer.text[:300]
    assert lag.busy < BUSY_SECONDS
    await served.answers_well()


async def holding(served: Served, number: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connections whose searches have a slot each, and whose bodies do not come on."""
    opened = []
    for _ in range(number):
        reader, writer = await open_to(served.url)
        writer.write(request(FORM, "Content-Length: 60000", "Expect: 100-continue"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        opened.append((reader, writer))
    return opened


async def dribble(writers: list[asyncio.StreamWriter], data: bytes) -> None:
    """`data` and its last byte for ever, a byte at a time to each."""
    for byte in chain(data, repeat(data[-1])):
        for writer in writers:
            if not writer.is_closing():
                writer.write(bytes([byte]))
        await asyncio.sleep(0.01)


async def test_slow_bodies_hold_up_nobody_and_end_in_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many that never finish their headers, and slow bodies in all slots but one."""
    monkeypatch.setattr("facepass.search_api.http.request_body.GRACE_SECONDS", 8.0)
    headless = [await open_to(served.url) for _ in range(100)]
    slow = await holding(served, SLOTS - 1)
    dribbling = [
        asyncio.create_task(dribble([writer for _, writer in slow], FILE + b"\xff")),
        asyncio.create_task(
            dribble([writer for _, writer in headless], b"POST /api/v1/search HTTP/1.1\r\nX-A: a")
        ),
    ]
    answering = [asyncio.create_task(reader.readuntil(b"}}")) for reader, _ in slow]
    async with loop_lag() as lag:
        for _ in range(5):
            await served.answers_well()
        answers = [(await answer).decode() for answer in answering]
    assert lag.busy < BUSY_SECONDS
    assert [answer.partition("\r\n")[0] for answer in answers] == ["HTTP/1.1 408 Request Timeout"] * len(slow)
    assert all('"code":"upload_timeout"' in answer for answer in answers)
    for task in dribbling:
        assert not task.done()
        task.cancel()
    await asyncio.wait(dribbling)
    for _, writer in (*slow, *headless):
        writer.transport.abort()
    await served.free_again()


@pytest.mark.parametrize("length", [(), ("Content-Length: 8000000",)], ids=["no length", "a length too"])
async def test_a_body_in_chunks_of_one_byte_takes_its_turn_with_others(
    served: Served, length: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = chain(
        [request(FORM, "Transfer-Encoding: chunked", *length), b"%x\r\n%b\r\n" % (len(FILE), FILE)],
        repeat(b"1\r\na\r\n" * (BLOCK // 6)),
    )
    with monkeypatch.context() as patched:
        patched.setattr("facepass.search_api.http.request_body.UPLOAD_SECONDS", 3.0)
        async with loop_lag() as lag:
            abusing = asyncio.create_task(send_on(served.url, chunks))
            await asyncio.sleep(1)  # it is well under way
            await served.found("with-me", astronaut_jpeg())
            answer, _ = await abusing
    assert answer.status == 408, answer.text[:300]
    assert lag.busy < BUSY_SECONDS
    await served.answers_well()


async def test_a_body_longer_than_announced_is_cut_there(served: Served) -> None:
    """What comes after the announced length is no part of the search, and no search of its own."""
    body = search_body("with-me", astronaut_jpeg())
    head = f"POST /api/v1/search HTTP/1.1\r\nHost: x\r\n{FORM}\r\nContent-Length: {{}}\r\n\r\n"
    for announced, first in ((len(body), 200), (len(body) - 1000, 422), (1, 422)):
        data = head.format(announced).encode() + body + b"x" * 5000 + b"\r\n\r\n"
        answer = await send(served.url, data)
        assert answer.status == first, answer.text[:300]
        assert answer.text.count("HTTP/1.1 ") <= 2
        assert answer.text.count("HTTP/1.1 200") == (first == 200)
    await served.answers_well()


async def test_clients_that_leave_at_any_moment_leave_nothing_behind(served: Served, log_lines: StringIO) -> None:
    """In the headers, in the body, before the answer: no slot stays taken, and nothing is logged as a defect."""
    whole = form_request(search_body("with-me", astronaut_jpeg()))
    random = Random(5)  # noqa: S311 - no secret
    cuts = [*(random.randrange(1, len(whole)) for _ in range(30)), *[len(whole)] * 10]

    async def leave(number: int, cut: int) -> None:
        _, writer = await open_to(served.url)
        writer.write(whole[:cut])
        with suppress(ConnectionError):
            await writer.drain()
            if number % 2:
                writer.write_eof()
            await asyncio.sleep(random.uniform(0, 0.2))
        writer.transport.abort()

    await asyncio.gather(*(leave(number, cut) for number, cut in enumerate(cuts)))
    await served.free_again()
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert any(line.get("status") == 499 for line in lines)  # some were noticed
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []
    await served.answers_well()
