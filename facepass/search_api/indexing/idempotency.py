"""The header Idempotency-Key: the first answer is kept and given again.

After draft-ietf-httpapi-idempotency-key-header-07: a call that comes while the first one has no answer gets 409,
one with the same key and another request 422. Answers that a repetition may better are not kept: those of 5xx.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from fastapi import Request, Response

from facepass.schemas.callers import Caller
from facepass.schemas.error_table import ERROR_TABLE
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import idempotent_replays_total
from facepass.search_api.http import error_body
from facepass.search_api.parts import Parts
from facepass.storage.callers import Claim, KeptAnswer, claim_key

_log = get_logger(__name__)

_HEADER = "idempotency-key"

_KEY = re.compile(r'"([\x20\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x7e]{1,255})')
"""A string of RFC 8941 without escapes, as the draft has it, or the bare text that most clients send."""

_REPLAYED = "Idempotent-Replayed"

_SPARE_SECONDS = 60.0
"""What a call may take longer than planned before its process counts as dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as its idempotency key sees it.

    Attributes:
        request_hash: of what it asks for.
        seconds: that it takes at most.
    """

    caller: Caller
    key: str
    request_hash: bytes
    seconds: float


def read_key(request: Request) -> str | None:
    """The call's key; None without one.

    Raises:
        PermanentError: `invalid_parameter`.
    """
    text = request.headers.get(_HEADER)
    if text is None:
        return None
    if not (found := _KEY.fullmatch(text.strip())):
        raise PermanentError(
            ErrorCode.INVALID_PARAMETER, "Idempotency-Key: 1 to 255 printable characters", field="Idempotency-Key"
        )
    return found[1] or found[2]


def hash_of(*parts: object) -> bytes:
    """SHA-256 of what a call asks for: the same for the same content, however it was sent."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).digest()


async def once(parts: Parts, call: Call | None, work: Callable[[], Awaitable[KeptAnswer]]) -> KeptAnswer:
    """The answer of `work`, or the one that the call's key had before.

    Raises:
        PermanentError: `idempotency_mismatch`.
        TransientError: `request_under_way`, `database_unavailable`. And what `work` raises.
    """
    if call is None:
        return await work()
    async with keeping(parts, call) as kept:
        if kept.before is not None:
            return kept.before
        kept.answer = await work()
        return kept.answer


@dataclass(slots=True)
class Kept:
    """What a key stands for: the answer `before`, or the `answer` to be kept now."""

    before: KeptAnswer | None = None
    answer: KeptAnswer | None = None


@asynccontextmanager
async def keeping(parts: Parts, call: Call) -> AsyncIterator[Kept]:
    """Hold the call's key for the block; keeps the answer that is set in it, or the error that ends it.

    Raises: as `once`.
    """
    claim = await claim_key(
        parts.store.database,
        caller=call.caller.key_id,
        key=call.key,
        request_hash=call.request_hash,
        kept_seconds=parts.indexing.idempotency_hours * 3600,
        longest=call.seconds + _SPARE_SECONDS,
    )
    if isinstance(claim, KeptAnswer):
        idempotent_replays_total.inc()
        yield Kept(before=replace(claim, headers={**claim.headers, _REPLAYED: "true"}))
        return
    kept = Kept()
    try:
        yield kept
    except FacePassError as exc:
        kept.answer = _kept_error(exc)
        raise
    finally:
        await asyncio.shield(_settle(claim, kept.answer))


async def _settle(claim: Claim, answer: KeptAnswer | None) -> None:
    """Keep the answer or free the key. What was done is done, whether that succeeds or not."""
    try:
        await (claim.answer(answer) if answer else claim.release())
    except TransientError as exc:
        _log.warning("idempotency_key_not_settled", error=exc)


def _kept_error(error: FacePassError) -> KeptAnswer | None:
    entry = ERROR_TABLE.get(error.code)
    if entry is None or not entry.clients_fault or isinstance(error, TransientError):
        return None
    return KeptAnswer(status=entry.status, body=error_body(error).model_dump(mode="json"), headers={})


def as_response(answer: KeptAnswer) -> Response:
    """The answer as FastAPI sends it."""
    return Response(
        json.dumps(answer.body, ensure_ascii=False, separators=(",", ":")),
        status_code=answer.status,
        headers=answer.headers,
        media_type="application/json",
    )
