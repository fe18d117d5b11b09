"""A client that searches over HTTP on a connection that it keeps, and a call that indexes.

The client's share of the time counts as ours, so it is no more than a socket: the standard library's HTTP client
was seen to take half a millisecond of each search for itself.
"""

import json
import re
import socket
from collections.abc import Sequence
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection

from bench.site import HOST, Site
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.ids import SessionId

_ANSWER_SECONDS = 60.0
_BATCH_SECONDS = 1200.0
_BOUNDARY = "facepass-bench"
_FORM_TYPE = f"Content-Type: multipart/form-data; boundary={_BOUNDARY}"


class SearchClient:
    """The sender of one selfie for the same session again and again. `fields` are further fields of the form."""

    def __init__(self, port: int, selfie: bytes, session_id: SessionId, **fields: str) -> None:
        self._connection = _Connection(port)
        self._fields = {"session_id": str(session_id), **fields}
        self._selfie = selfie
        self._request = self._search(self._fields)  # once: putting 4 MB together is no part of a search

    def search(self, **fields: str) -> bytes:
        """One search, from the first byte sent to the last byte of the answer: its JSON, which is the caller's to
        read, so that the time of that is not the search's.

        Raises:
            TransientError: `internal`: no answer, or a 503; the next call opens another connection if it must.
            PermanentError: `internal`: another answer that is no success.
        """
        request = self._search(self._fields | fields) if fields else self._request
        status, answer = self._connection.ask(request)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise TransientError(ErrorCode.INTERNAL, "a search was answered with status 503")
        if status != HTTPStatus.OK:
            raise PermanentError(ErrorCode.INTERNAL, f"a search was answered with status {status}")
        return answer

    def health(self) -> None:
        """Ask the process how it is; return when it answers at all. Raises as `search`."""
        self._connection.ask(self._connection.request("GET", "/health"))

    def metric(self, name: str) -> float:
        """One of the process's metrics, by its name and labels as `/metrics` prints them. Raises as `search`."""
        _, answer = self._connection.ask(self._connection.request("GET", "/metrics"))
        lines = (line.rpartition(" ") for line in answer.decode().splitlines())
        found = next((value for sample, _, value in lines if sample == name), None)
        if found is None:
            raise PermanentError(ErrorCode.INTERNAL, f"/metrics has no {name}")
        return float(found)

    def reconnect(self) -> None:
        """Open the connection anew: the server closes one that was quiet for some seconds."""
        self._connection.close()
        self.search()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _search(self, fields: dict[str, str]) -> bytes:
        """The request of a search."""
        parts = [
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        file = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="selfie.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = "".join([*parts, file]).encode() + self._selfie + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return self._connection.request("POST", "/api/v1/search", _FORM_TYPE, body=body)


class _Connection:
    """One connection, opened when it is needed, for answers that say how long they are."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def request(self, method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
        """A request as it is sent."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {HOST}:{self._port}",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; the answer's status and body.

        Raises:
            TransientError: `internal`: no answer, or one that is not understood; the connection is closed.
        """
        try:
            if self._socket is None:
                self._socket = socket.create_connection((HOST, self._port), timeout=_ANSWER_SECONDS)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(request)
            status, last, answer = _answer(self._socket)
        except (OSError, ValueError) as exc:
            self.close()
            raise TransientError(ErrorCode.INTERNAL, f"no answer: {type(exc).__name__}") from exc
        except BaseException:
            self.close()  # or the next request would be answered with the rest of this one's answer
            raise
        if last:
            self.close()
        return status, answer

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_HEAD = re.compile(
    rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n(?:[^\r]+\r\n)*?content-length: (\d+)\r\n(?:[^\r]+\r\n)*\r\n", re.IGNORECASE
)
_READ_BYTES = 1 << 18


def _answer(connection: socket.socket) -> tuple[int, bool, bytes]:
    """Status, whether it is the connection's last, and body; ValueError for an end before it, or no length."""
    received = bytearray()
    while (head := _HEAD.match(received)) is None:
        if b"\r\n\r\n" in received:
            raise ValueError("no HTTP/1.1, or no length")
        _receive(connection, received)
    status, length, last = int(head[1]), int(head[2]), b"connection: close" in head[0].lower()
    begin = head.end()
    del head  # it holds the bytes as they are
    while len(received) < begin + length:
        _receive(connection, received)
    return status, last, bytes(received[begin:])


def _receive(connection: socket.socket, received: bytearray) -> None:
    if not (chunk := connection.recv(_READ_BYTES)):
        raise ValueError("the connection ended")
    received += chunk


def index_batch(site: Site, session_id: SessionId, events: Sequence[PhotoIndexed]) -> None:
    """Index the photos of some events by one call instead, and wait until all are settled.

    Raises:
        PermanentError: `internal`: the answer is no success, or a photo failed.
    """
    photos = [{"photo_id": event.photo_id, "s3_key": event.s3_key} for event in events]
    body = json.dumps({"session_id": session_id, "photos": photos})
    headers = {"Content-Type": "application/json", "X-API-Key": site.api_key}
    with closing(HTTPConnection(HOST, site.port, timeout=_BATCH_SECONDS)) as connection:
        connection.request("POST", "/api/v1/index/batch", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
    if response.status != HTTPStatus.OK or answer["failed"]:
        raise PermanentError(ErrorCode.INTERNAL, f"a batch was answered with status {response.status}: {answer}")
