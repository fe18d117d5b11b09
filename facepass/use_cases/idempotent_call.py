"""A call with an idempotency key is done once: its first answer is kept, and given again.

After draft-ietf-httpapi-idempotency-key-header-07: a call that comes while the first one has no answer is refused,
and so is one with the same key that asks for something else.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from facepass.schemas.errors import FacePassError, TransientError
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import idempotent_replays_total
from facepass.storage import Database
from facepass.storage.callers import Claim, KeptAnswer, claim_key

_log = get_logger(__name__)

_SPARE_SECONDS = 60.0
"""What a call may take longer than planned before its process counts as dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentCall:
    """One call as its idempotency key sees it.

    Attributes:
        key_id: of the caller's API key: another caller's idempotency keys are others.
        key: the idempotency key.
        request_hash: of what the call asks for.
        seconds: that it takes at most.
        kept_seconds: how long its answer is kept.
    """

    key_id: str
    key: str
    request_hash: bytes
    seconds: float
    kept_seconds: float


@dataclass(slots=True)
class FirstAnswer:
    """The thing that a key stands for: the answer that it had `before`, or the one to be kept `now`."""

    before: KeptAnswer | None = None
    now: KeptAnswer | None = None


def hash_of(*asked: object) -> bytes:
    """SHA-256 of what a call asks for: the same for the same content, however it was sent."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode("utf-8", "surrogatepass")).digest()


@asynccontextmanager
async def first_answer(
    db: Database, call: IdempotentCall, *, of_error: Callable[[FacePassError], KeptAnswer | None]
) -> AsyncIterator[FirstAnswer]:
    """Hold the call's key for the block; keeps the answer that is set in it, or that of the error that ends it.

    Args:
        of_error: what is kept of an error; None: nothing, since a repetition may fare better.

    Raises:
        PermanentError: `idempotency_mismatch`.
        TransientError: `request_under_way`, `database_unavailable`.
    """
    claim = await claim_key(
        db,
        caller=call.key_id,
        key=call.key,
        request_hash=call.request_hash,
        kept_seconds=call.kept_seconds,
        longest=call.seconds + _SPARE_SECONDS,
    )
    if isinstance(claim, KeptAnswer):
        idempotent_replays_total.inc()
        yield FirstAnswer(before=claim)
        return
    answer = FirstAnswer()
    try:
        yield answer
    except FacePassError as exc:
        answer.now = of_error(exc)
        raise
    finally:
        await asyncio.shield(_keep_or_release(claim, answer.now))


async def _keep_or_release(claim: Claim, answer: KeptAnswer | None) -> None:
    """Keep the answer or free the key. What was done is done, whether that succeeds or not."""
    try:
        await (claim.answer(answer) if answer else claim.release())
    except TransientError as exc:
        _log.warning("idempotency_key_not_settled", error=exc)
