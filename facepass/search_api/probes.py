"""The probes of a serving process: /health, /ready and /metrics."""

import asyncio
import time
from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from facepass import __version__
from facepass.schemas.errors import FacePassError
from facepass.schemas.http.probe_bodies import HealthAnswer, ReadyAnswer
from facepass.search_api.http import json_answer
from facepass.storage import Database
from facepass.storage.shards import Replica

DATABASE_SECONDS = 2.0
"""How long a probe waits for the database; orchestrators give up on a probe after a few seconds themselves."""


def probe_routes(database: Database, replica: Replica, pack: str, broker_healthy: Callable[[], bool]) -> APIRouter:
    """The routes for orchestrators and Prometheus.

    Args:
        pack: name of the loaded model pack.
    """
    router = APIRouter(tags=["operation"])
    _add_health(router, database, pack, broker_healthy)
    _add_ready(router, database, replica)

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=PlainTextResponse,
        response_description="All metrics of this process",
    )
    async def metrics_endpoint() -> Response:
        """All metrics in the text format of Prometheus."""
        return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def _add_health(router: APIRouter, database: Database, pack: str, broker_healthy: Callable[[], bool]) -> None:
    """Add /health, on whether the process works: 503 without the database; without the broker only `degraded`."""
    started = time.monotonic()

    @router.get(
        "/health",
        summary="Whether this process works",
        response_model=HealthAnswer,
        response_description="`healthy`, or `degraded` without the broker",
        responses={503: {"model": HealthAnswer, "description": "`status` is `unhealthy`"}},
    )
    async def health() -> Response:
        connected = await _reachable(database)
        broker = broker_healthy()
        body = HealthAnswer(
            status="unhealthy" if not connected else "healthy" if broker else "degraded",
            database="connected" if connected else "unavailable",
            face_recognition_model=pack,
            broker="connected" if broker else "unavailable",
            version=__version__,
            uptime_seconds=round(time.monotonic() - started, 3),
        )
        return json_answer(body, 200 if connected else 503)


def _add_ready(router: APIRouter, database: Database, replica: Replica) -> None:
    """Add /ready, on whether searches are answered now: lease in force, model loaded, database there."""

    @router.get(
        "/ready",
        summary="Whether searches are answered now",
        response_model=ReadyAnswer,
        response_description="Ready",
        responses={503: {"model": ReadyAnswer, "description": "`status` is `not_ready`"}},
    )
    async def ready() -> Response:
        deadline = replica.deadline()
        lease = deadline is not None and not replica.expired(deadline)
        connected = await _reachable(database)
        ok = lease and connected
        body = ReadyAnswer(
            status="ready" if ok else "not_ready", lease=lease, face_recognition_model=True, database=connected
        )
        return json_answer(body, 200 if ok else 503)


async def _reachable(database: Database) -> bool:
    """True if a transaction can begin: that takes a connection that the pool has just checked."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS), database.transaction(snapshot=True):
            return True
    except (FacePassError, TimeoutError):
        return False
