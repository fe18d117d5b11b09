"""The connection that lets bodies pass h11 by, beside h11's own: the same requests, the same answers."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from facepass.search_api.http.protocol import MOST_HEAD_BYTES, BoundedReads, Connection

Heard = tuple[str, bytes]
"""What an event is, and what it carries; pieces of a body together."""

PLAIN = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = h11.Response(status_code=200, headers=[("Content-Length", "2")])
CHUNKED_ANSWER = h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked")])


def announced(body: bytes, *more: bytes) -> bytes:
    lines = [b"POST /%d HTTP/1.1" % len(body), b"Host: x", b"Content-Length: %d" % len(body), *more, b"", b""]
    return b"\r\n".join(lines) + body


def chunked(pieces: Sequence[bytes], *more: bytes) -> bytes:
    head = b"\r\n".join([b"POST / HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked", *more, b"", b""])
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


BODY = st.one_of(st.binary(max_size=60), st.just(PLAIN), st.just(announced(b"inner")))
"""Also such that look like another request."""

REQUEST = st.one_of(
    st.just(PLAIN),
    BODY.map(announced),
    st.lists(st.binary(min_size=1, max_size=9), max_size=4).map(chunked),
    st.lists(st.binary(min_size=1, max_size=9), max_size=4).map(lambda some: chunked(some, b"Content-Length: 7")),
    BODY.map(lambda body: announced(body, b"Connection: Upgrade", b"Upgrade: h2c")),
    st.just(announced(b"cut short")[:-3]),
    st.just(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    st.just(b"nonsense\r\n\r\n"),
)


When = Literal["early", "at once", "late"]
"""An answer goes out before the request's body, when that is complete, or when more has arrived behind it."""


def heard(connection: h11.Connection, pieces: Iterable[bytes], when: When = "at once") -> list[Heard]:
    """What a server hears of bytes that arrive in these pieces, each in the place of the one before."""
    found: list[Heard] = []
    unanswered = False
    for piece in pieces:
        place = bytearray(piece)
        connection.receive_data(place)
        while True:
            unanswered = _listen(connection, found, early=when == "early") or unanswered
            if not unanswered or when == "late":
                break
            _next(connection, answer=when == "at once")
            unanswered = False
        if found and found[-1][0] == "error":
            return found
        while unanswered and when == "late" and len(connection.trailing_data[0]):
            _next(connection, answer=True)
            unanswered = _listen(connection, found)
        place[:] = bytes(len(place))
    return found


def _next(connection: h11.Connection, *, answer: bool) -> None:
    if answer:
        _answer(connection)
    connection.start_next_cycle()


def _answer(connection: h11.Connection) -> None:
    for event in (ANSWER, h11.Data(data=b"ok"), h11.EndOfMessage()):
        connection.send(event)


def _listen(connection: h11.Connection, found: list[Heard], *, early: bool = False) -> bool:
    """Whether it ended with a request that is complete."""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as exc:
            found.append(("error", str(exc).encode()))
            return False
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return False
        if isinstance(event, h11.EndOfMessage):
            found.append(("end", b""))
            return True
        if isinstance(event, h11.Data):
            before = found.pop()[1] if found and found[-1][0] == "body" else b""
            found.append(("body", before + bytes(event.data)))
        else:
            assert isinstance(event, h11.Request), event
            found.append(("request", bytes(event.target)))
            if early:
                _answer(connection)


@given(
    requests=st.lists(REQUEST, max_size=5),
    cuts=st.lists(st.integers(1, 80), min_size=1),
    when=st.sampled_from(get_args(When)),
)
def test_whatever_arrives_is_heard_as_h11_hears_it(requests: list[bytes], cuts: list[int], when: When) -> None:
    stream, pieces = b"".join(requests), []
    while stream:
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(stream[:size])
        stream = stream[size:]
    expected = heard(h11.Connection(h11.SERVER, MOST_HEAD_BYTES), pieces, when)
    assert heard(Connection(), pieces, when) == expected


@given(body=st.binary(min_size=1, max_size=300), sizes=st.lists(st.integers(1, 50), min_size=1))
def test_what_is_awaited_is_the_rest_of_the_announced_body(body: bytes, sizes: list[int]) -> None:
    connection, head = Connection(), announced(body)[: -len(body)]
    assert heard(connection, [head])
    left, number = body, 0
    while left:
        assert connection.awaited == len(left)
        size = sizes[number % len(sizes)]
        heard(connection, [left[:size]])
        left, number = left[size:], number + 1
    assert connection.awaited == 0


@pytest.mark.parametrize("request_bytes", [PLAIN, chunked([b"a" * 9]), chunked([b"a"], b"Content-Length: 900")])
def test_nothing_is_awaited_of_what_is_not_announced(request_bytes: bytes) -> None:
    connection = Connection()
    for number in range(len(request_bytes)):
        heard(connection, [request_bytes[number : number + 1]])
        assert connection.awaited == 0


def answered(connection: h11.Connection, *events: h11.Event) -> list[bytes]:
    """What is written for each of the events."""
    assert heard(connection, [PLAIN[:-1]]) == []
    connection.receive_data(PLAIN[-1:])
    assert isinstance(connection.next_event(), h11.Request)
    return [connection.send(event) or b"" for event in events]


def test_an_answer_of_known_length_is_written_with_its_head() -> None:
    events = (ANSWER, h11.Data(data=b"ok"), h11.EndOfMessage())
    head, body, end = answered(Connection(), *events)
    assert (head, end) == (b"", b"")
    assert body == b"".join(answered(h11.Connection(h11.SERVER), *events))


def test_an_empty_answer_is_written_too() -> None:
    events = (h11.Response(status_code=200, headers=[("Content-Length", "0")]), h11.EndOfMessage())
    assert b"".join(answered(Connection(), *events)) == b"".join(answered(h11.Connection(h11.SERVER), *events))


def test_the_head_of_an_answer_that_takes_its_time_goes_out_at_once() -> None:
    events = (CHUNKED_ANSWER, h11.Data(data=b"ok"), h11.EndOfMessage())
    assert answered(Connection(), *events) == answered(h11.Connection(h11.SERVER), *events)


async def test_an_announced_body_is_read_in_large_pieces_and_all_else_in_small_ones() -> None:
    config = Config(app=lambda *_: None, lifespan="off")  # type: ignore[arg-type]  # what it would answer is no matter
    protocol = BoundedReads(config, ServerState(), {})
    assert isinstance(protocol, asyncio.BufferedProtocol), "asyncio goes by the class"
    small = len(protocol.get_buffer(-1))
    assert small <= 64 * 1024
    heard(protocol.conn, [announced(b"x" * 10**7)[: -(10**7)]])
    large = len(protocol.get_buffer(-1))
    assert large >= 8 * small
    heard(protocol.conn, [b"x" * (10**7 - large // 2)])
    assert len(protocol.get_buffer(-1)) == large // 2, "what comes after the body is not part of the piece"
    heard(protocol.conn, [b"x" * (large // 2)])
    assert len(protocol.get_buffer(-1)) == small
