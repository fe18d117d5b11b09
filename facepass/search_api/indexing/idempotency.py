"""The header Idempotency-Key: the first answer is kept and given again.

After draft-ietf-httpapi-idempotency-key-header-07: a call that comes while the first one has no answer gets 409,
one with the same key and another request 422. Answers that a repetition may better are not kept: those of 5xx.
"""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from fastapi import Request, Response

from facepass.schemas.error_table import ERROR_TABLE
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.search_api.http import JsonResponse, error_body
from facepass.storage import Database
from facepass.storage.callers import KeptAnswer
from facepass.use_cases import IdempotentCall, first_answer

_HEADER = "idempotency-key"

_KEY = re.compile(r'"([\x20\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x7e]{1,255})')
"""A string of RFC 8941 without escapes, as the draft has it, or the bare text that most clients send."""

_REPLAYED = "Idempotent-Replayed"


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


async def answered_once(
    db: Database, call: IdempotentCall | None, work: Callable[[], Awaitable[KeptAnswer]]
) -> KeptAnswer:
    """The answer of `work`, or the one that the call's key had before; None: it has no key.

    Raises: as `first_answer`, and what `work` raises.
    """
    if call is None:
        return await work()
    async with first_answer(db, call, of_error=kept_error) as answer:
        if answer.before is not None:
            return replace(answer.before, headers={**answer.before.headers, _REPLAYED: "true"})
        answer.now = await work()
        return answer.now


def kept_error(error: FacePassError) -> KeptAnswer | None:
    """The answer to an error, as it is kept; None if the same call may fare better."""
    entry = ERROR_TABLE.get(error.code)
    if entry is None or not entry.clients_fault or isinstance(error, TransientError):
        return None
    return KeptAnswer(status=entry.status, body=error_body(error).model_dump(mode="json"), headers={})


def as_response(answer: KeptAnswer) -> Response:
    """The answer as FastAPI sends it."""
    text = json.dumps(answer.body, ensure_ascii=False, separators=(",", ":"))
    return JsonResponse(text, status_code=answer.status, headers=answer.headers)
