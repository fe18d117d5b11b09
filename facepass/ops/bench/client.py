"""A client that searches over HTTP on a connection that it keeps, and a call that indexes.

The standard library's own, because its share of the time counts as ours.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from facepass.ops.bench.site import HOST, Site
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.ids import SessionId

_ANSWER_SECONDS = 60.0
_BATCH_SECONDS = 1200.0
_BOUNDARY = "facepass-bench"


class SearchClient:
    """Sends the same selfie for the same session again and again. `fields` are further fields of the form."""

    def __init__(self, port: int, selfie: bytes, session_id: SessionId, **fields: str) -> None:
        self._connection = HTTPConnection(HOST, port, timeout=_ANSWER_SECONDS)
        self._fields = {"session_id": str(session_id), **fields}
        self._selfie = selfie
        self._body = self._form(self._fields)  # once: putting 4 MB together is no part of a search

    def search(self, **fields: str) -> dict[str, Any]:
        """One search, from the first byte sent to the last byte of the answer.

        Raises:
            TransientError: `internal`: no answer, or a 503; the next call opens another connection if it must.
            PermanentError: `internal`: another answer that is no success.
        """
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        body = self._form(self._fields | fields) if fields else self._body
        response, answer = self._ask("POST", "/api/v1/search", body, headers)
        if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise TransientError(ErrorCode.INTERNAL, "a search was answered with status 503")
        if response.status != HTTPStatus.OK:
            raise PermanentError(ErrorCode.INTERNAL, f"a search was answered with status {response.status}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def health(self) -> None:
        """Ask the process how it is; return when it answers at all. Raises as `search`."""
        self._ask("GET", "/health", b"", {})

    def metric(self, name: str) -> float:
        """One of the process's metrics, by its name and labels as `/metrics` prints them. Raises as `search`."""
        _, answer = self._ask("GET", "/metrics", b"", {})
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
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[HTTPResponse, bytes]:
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            return response, response.read()
        except (OSError, HTTPException) as exc:
            self._connection.close()
            raise TransientError(ErrorCode.INTERNAL, f"{path} got no answer: {type(exc).__name__}") from exc

    def _form(self, fields: dict[str, str]) -> bytes:
        """The multipart body of a search."""
        parts = [
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        file = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="selfie.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        return "".join([*parts, file]).encode() + self._selfie + f"\r\n--{_BOUNDARY}--\r\n".encode()


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
