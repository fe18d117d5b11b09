"""Ids in a URL's path, whatever characters they hold.

An id may hold a slash, which a URL carries as `%2F`. Servers decode the whole path before an application sees it,
and then `/sessions/a%2Fphotos` cannot be told from the photos of session `a`. So `SegmentPaths` decodes the bytes
that the client sent once more, segment by segment, with a stand-in for every slash inside one; the convertors of
the routes turn it back:

- `{session_id:segment}`: one segment, so that routes may go on behind it;
- `{session_id:rest}`: everything to the end of the path, slashes that were not encoded too.

An id of `.` or `..` cannot be written in a path: clients take such a segment out before they send it.
"""

from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Path
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from facepass.schemas.ids import PhotoIdField, SessionIdField

PREFIXES = ("/api/v1", "/api/v2")
"""The same routes under both: Pixora's documents use either."""

_ROOT = b"/api/"
"""Other paths have no ids; of those some name files, and no file system takes the stand-in."""

_ENCODED_SLASH = "\udc2f"
"""Half of a surrogate pair: no valid text holds one, and bytes that are not UTF-8 become others (0x80 to 0xff)."""


class SegmentPaths:
    """ASGI: `scope["path"]` becomes the path that the client meant, with a stand-in for slashes inside a segment.

    Bytes that are not UTF-8 become halves of surrogate pairs too: no id may hold them, so the route refuses it as
    `invalid_id`. Decoded leniently they would name another session.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decode the path of a request and pass it on."""
        raw = scope.get("raw_path") or b""
        if scope["type"] == "http" and raw.startswith(scope.get("root_path", "").encode() + _ROOT):
            # in place: the router notes in this scope which route it took, and the request log reads it there
            scope["path"] = "/".join(map(_segment, raw.split(b"/")))
        await self._app(scope, receive, send)


def _segment(raw: bytes) -> str:
    return unquote_to_bytes(raw).decode(errors="surrogateescape").replace("/", _ENCODED_SLASH)


class _Segment(Convertor[str]):
    """One segment, which may be empty: the id's own rule then says what is wrong. Line breaks belong to it."""

    regex = r"[^/]*"

    def convert(self, value: str) -> str:
        return value.replace(_ENCODED_SLASH, "/")

    def to_string(self, value: str) -> str:
        return value.replace("/", _ENCODED_SLASH)


class _Rest(_Segment):
    """The rest of the path to its end. Starlette's own `path` stops at a line break."""

    regex = r"[\s\S]*"


# The paths of the routes name them: `{session_id:segment}`.
register_url_convertor("segment", _Segment())
register_url_convertor("rest", _Rest())

SessionInPath = Annotated[
    SessionIdField,
    Path(
        description="percent-encoded where it needs to be, a slash as %2F",
        openapi_examples={"text": {"value": "wedding-2026-05-09"}, "number": {"value": "4711"}},
    ),
]
PhotoInPath = Annotated[
    PhotoIdField,
    Path(
        description="percent-encoded where it needs to be, a slash as %2F",
        openapi_examples={"text": {"value": "8f14e45f-ceea-467f-9d3c-5f5b6c1a0d11"}, "number": {"value": "90210"}},
    ),
]
