"""Metrics and the log line of calls that index or delete."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import ClientDisconnect

from facepass.schemas import metrics
from facepass.schemas.errors import ErrorCode, FacePassError

_LEFT = "client_closed"
"""The caller went away, or the process stops."""


@dataclass(slots=True)
class Measured:
    """A call's own word on its outcome: it was answered before it was complete."""

    pending: bool = False


@contextmanager
def measured(operation: str) -> Iterator[Measured]:
    """Count and time one call."""
    begun = time.perf_counter()
    call = Measured()
    failed: str | None = None
    try:
        yield call
    except FacePassError as exc:
        failed = exc.code
        raise
    except (asyncio.CancelledError, GeneratorExit, ClientDisconnect):
        failed = _LEFT
        raise
    except BaseException:
        failed = ErrorCode.INTERNAL
        raise
    finally:
        result = failed or (ErrorCode.PENDING if call.pending else "ok")
        metrics.index_calls_total.labels(operation, str(result)).inc()
        metrics.index_call_duration_seconds.labels(operation).observe(time.perf_counter() - begun)
