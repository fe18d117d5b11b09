"""A request's body: read here alone, into memory alone, from a client that has to get on with it.

No route declares a body: FastAPI would read and parse it before any guard of the route has run.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from facepass.schemas.errors import ErrorCode, PermanentError, invalid_input
from facepass.search_api.http.multipart import ImageForm, read_image_form

BODY_READ = "facepass.body_read"
"""Key in a request's ASGI scope, true once the body has arrived to its end."""

UPLOAD_SECONDS = 120.0
"""For a whole body: a selfie of 10 MB needs this at 0.7 Mbit/s."""

GRACE_SECONDS = 10.0
"""For its first bytes, and for a pause at any time: a phone that changes its cell is silent for some seconds."""

LEAST_BYTES_PER_SECOND = 16 * 1024
"""A body that keeps falling behind this is given up: while it arrives it counts among the searches under way."""

M = TypeVar("M", bound=BaseModel)


async def read_form(request: Request, *, max_bytes: int, most_images: int = 1) -> ImageForm:
    """A form with images and fields; neither is checked.

    Args:
        max_bytes: of one image.

    Raises:
        PermanentError: `invalid_parameter`, `upload_timeout`, `file_too_large`.
    """
    return await read_image_form(
        request.headers.get("content-type", ""),
        _announced_length(request),
        _chunks(request),
        max_bytes=max_bytes,
        most_images=most_images,
    )


async def read_json(request: Request, model: type[M], *, max_bytes: int) -> M:
    """A JSON body as its model.

    Raises:
        PermanentError: `invalid_parameter`, `invalid_id`, `upload_timeout`, `file_too_large`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise PermanentError(
            ErrorCode.INVALID_PARAMETER, "send JSON with the content type application/json", field="content-type"
        )
    body = await _read(request, max_bytes)
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        raise invalid_input(exc) from exc


def is_form(request: Request) -> bool:
    """True if the body is a form."""
    return request.headers.get("content-type", "").lower().startswith("multipart/")


async def _read(request: Request, max_bytes: int) -> bytes:
    too_large = PermanentError(
        ErrorCode.FILE_TOO_LARGE, f"the body has more than {max_bytes} bytes", limit=max_bytes
    )
    if (_announced_length(request) or 0) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in _chunks(request):
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body, piece by piece.

    Raises:
        PermanentError: `upload_timeout`.
        ClientDisconnect: the client went away.
    """
    begun, received, more = asyncio.get_running_loop().time(), 0, True
    while more:
        # Seconds from its beginning that a body may have taken after so many bytes.
        allowed = min(GRACE_SECONDS + received / LEAST_BYTES_PER_SECOND, UPLOAD_SECONDS)
        try:
            async with asyncio.timeout_at(begun + allowed):
                message = await request.receive()
        except TimeoutError as exc:
            raise PermanentError(
                ErrorCode.UPLOAD_TIMEOUT,
                f"the upload took longer than {allowed:.0f} seconds; send a smaller picture or try again",
            ) from exc
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        request.scope[BODY_READ] = not more  # `DrainRefused` asks for it
        if chunk := message.get("body", b""):
            received += len(chunk)
            yield chunk


def _announced_length(request: Request) -> int | None:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else None
