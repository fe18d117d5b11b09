"""/health, /ready and /metrics."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from facepass import __version__
from facepass.schemas.errors import FacePassError
from facepass.schemas.http.probe_bodies import HealthAnswer, ReadyAnswer
from facepass.search_api.parts import Parts
from facepass.storage import Database

Endpoint = Callable[[], Awaitable[Response]]

DATABASE_SECONDS = 2.0
"""How long a probe waits for the database; orchestrators give up on a probe after a few seconds themselves."""


def probe_routes(parts: Parts) -> APIRouter:
    """The routes for orchestrators and Prometheus."""
    router = APIRouter(tags=["operation"])
    router.add_api_route(
        "/health",
        health_endpoint(parts),
        methods=["GET"],
        summary="Whether this process works",
        response_model=HealthAnswer,
        response_description="`healthy`, or `degraded` without the broker",
        responses={503: {"model": HealthAnswer, "description": "`status` is `unhealthy`"}},
    )
    router.add_api_route(
        "/ready",
        ready_endpoint(parts),
        methods=["GET"],
        summary="Whether searches are answered now",
        response_model=ReadyAnswer,
        response_description="Ready",
        responses={503: {"model": ReadyAnswer, "description": "`status` is `not_ready`"}},
    )
    router.add_api_route(
        "/metrics",
        metrics_endpoint,
        methods=["GET"],
        summary="Metrics for Prometheus",
        response_class=PlainTextResponse,
        response_description="All metrics of this process",
    )
    return router


def health_endpoint(parts: Parts) -> Endpoint:
    """Whether the process works: 503 without the database; without the broker only `degraded`."""
    started = time.monotonic()

    async def health() -> Response:
        database = await _reachable(parts.store.database)
        broker = parts.broker_healthy()
        body = HealthAnswer(
            status="unhealthy" if not database else "healthy" if broker else "degraded",
            database="connected" if database else "unavailable",
            face_recognition_model=parts.engine.spec.pack,
            broker="connected" if broker else "unavailable",
            version=__version__,
            uptime_seconds=round(time.monotonic() - started, 3),
        )
        return _probe(body, ok=database)

    return health


def ready_endpoint(parts: Parts) -> Endpoint:
    """Whether searches are answered now: lease in force, model loaded, database there."""

    async def ready() -> Response:
        deadline = parts.replica.deadline()
        lease = deadline is not None and not parts.replica.expired(deadline)
        database = await _reachable(parts.store.database)
        ok = lease and database
        body = ReadyAnswer(
            status="ready" if ok else "not_ready", lease=lease, face_recognition_model=True, database=database
        )
        return _probe(body, ok=ok)

    return ready


async def metrics_endpoint() -> Response:
    """All metrics in the text format of Prometheus."""
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _probe(body: HealthAnswer | ReadyAnswer, *, ok: bool) -> Response:
    return Response(body.model_dump_json(), status_code=200 if ok else 503, media_type="application/json")


async def _reachable(database: Database) -> bool:
    """Whether a transaction can begin: that takes a connection that the pool has just checked."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS), database.transaction(snapshot=True):
            return True
    except (FacePassError, TimeoutError):
        return False
