"""A request's body as it arrives, from a client that has to get on with it."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request

from facepass.schemas.errors import ErrorCode, PermanentError

UPLOAD_SECONDS = 120.0
"""For a whole body: a selfie of 10 MB needs this at 0.7 Mbit/s."""

GRACE_SECONDS = 10.0
"""For its first bytes, and for a pause at any time: a phone that changes its cell is silent for some seconds."""

LEAST_BYTES_PER_SECOND = 16 * 1024
"""A body that keeps falling behind this is given up: while it arrives it holds a slot of the searches."""


async def arriving(request: Request) -> AsyncIterator[bytes]:
    """The body, piece by piece.

    Raises:
        PermanentError: `upload_timeout`.
    """
    chunks, loop = request.stream(), asyncio.get_running_loop()
    begun, received = loop.time(), 0
    while True:
        allowed = _allowed(received)
        try:
            async with asyncio.timeout_at(begun + allowed):
                chunk = await anext(chunks, None)
        except TimeoutError as exc:
            raise PermanentError(
                ErrorCode.UPLOAD_TIMEOUT,
                f"the upload took longer than {allowed:.0f} seconds; send a smaller picture or try again",
            ) from exc
        if chunk is None:
            return
        received += len(chunk)
        yield chunk


def _allowed(received: int) -> float:
    """Seconds from its beginning that a body may have taken after so many bytes."""
    return min(GRACE_SECONDS + received / LEAST_BYTES_PER_SECOND, UPLOAD_SECONDS)
