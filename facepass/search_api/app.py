"""The HTTP API as one FastAPI application."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from facepass import __version__
from facepass.schemas.errors import ErrorCode
from facepass.schemas.http import HealthAnswer, ReadyAnswer, SearchAnswer, SessionStatus
from facepass.search_api.docs import add_docs
from facepass.search_api.errors import answer_errors, documented
from facepass.search_api.middleware import DrainRefused, RequestLog
from facepass.search_api.parts import Parts
from facepass.search_api.paths import SegmentPaths
from facepass.search_api.probes import health_endpoint, metrics_endpoint, ready_endpoint
from facepass.search_api.search import request_body, search_endpoint
from facepass.search_api.sessions import status_endpoint

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

PREFIXES = ("/api/v1", "/api/v2")
"""The same routes under both: Pixora's documents use either."""

STATUS_ERRORS = (ErrorCode.INVALID_ID, ErrorCode.INTERNAL, ErrorCode.DATABASE_UNAVAILABLE)
SEARCH_ERRORS = (
    ErrorCode.NO_FACE,
    ErrorCode.SESSION_NOT_FOUND,
    ErrorCode.UPLOAD_TIMEOUT,
    ErrorCode.FILE_TOO_LARGE,
    ErrorCode.TOO_MANY_PIXELS,
    ErrorCode.UNSUPPORTED_IMAGE,
    ErrorCode.DAMAGED_IMAGE,
    ErrorCode.INVALID_ID,
    ErrorCode.INVALID_PARAMETER,
    ErrorCode.INTERNAL,
    ErrorCode.DATABASE_UNAVAILABLE,
    ErrorCode.LEASE_EXPIRED,
    ErrorCode.MEMORY_BUDGET,
    ErrorCode.OVERLOADED,
)

_DESCRIPTION = """Finds the photos of one person in one photo session.

Every error has the same shape: a `code` for programs, a `message` for people, and `details`.
A selfie is kept in memory for the time of its request, and nowhere else."""


def create_app(parts: Parts, lifespan: Lifespan | None = None) -> FastAPI:
    """Build the application from opened parts.

    Args:
        parts: opened by the caller, who closes them after the application has stopped.
        lifespan: runs around the serving time, for what lives in the same event loop.
    """
    threads = ThreadPoolExecutor(parts.engine.threads, thread_name_prefix="selfie")
    app = FastAPI(
        title="FacePass",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_with_threads(threads, lifespan),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    _add_search(app, parts, threads)
    _add_probes(app, parts)
    add_docs(app)
    answer_errors(app)
    app.add_middleware(SegmentPaths)
    app.add_middleware(RequestLog)
    app.add_middleware(DrainRefused)  # outermost: the log line does not wait for the rest of a refused upload
    return app


def _with_threads(threads: ThreadPoolExecutor, inner: Lifespan | None) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with inner(app) if inner else nullcontext():
                yield
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    return lifespan


def _add_search(app: FastAPI, parts: Parts, threads: ThreadPoolExecutor) -> None:
    search, status = search_endpoint(parts, threads), status_endpoint(parts)
    for prefix in PREFIXES:
        app.add_api_route(
            f"{prefix}/search",
            search,
            methods=["POST"],
            summary="Find the photos of the person on a selfie",
            tags=["search"],
            response_model=SearchAnswer,
            response_description="The matches, best first",
            responses=documented(*SEARCH_ERRORS),
            openapi_extra=request_body(),
        )
        app.add_api_route(
            f"{prefix}/search/status/{{session_id:rest}}",
            status,
            methods=["GET"],
            summary="How far a session is indexed",
            tags=["search"],
            response_model=SessionStatus,
            response_description="What is known of the session; zeros for an unknown one",
            responses=documented(*STATUS_ERRORS),
        )


def _add_probes(app: FastAPI, parts: Parts) -> None:
    health, ready = health_endpoint(parts), ready_endpoint(parts)
    for prefix in ("", *PREFIXES):
        app.add_api_route(
            f"{prefix}/health",
            health,
            methods=["GET"],
            summary="Whether this process works",
            tags=["operation"],
            response_model=HealthAnswer,
            response_description="`healthy`, or `degraded` without the broker",
            responses={503: {"model": HealthAnswer, "description": "`status` is `unhealthy`"}},
        )
        app.add_api_route(
            f"{prefix}/ready",
            ready,
            methods=["GET"],
            summary="Whether searches are answered now",
            tags=["operation"],
            response_model=ReadyAnswer,
            response_description="Ready",
            responses={503: {"model": ReadyAnswer, "description": "`status` is `not_ready`"}},
        )
        app.add_api_route(
            f"{prefix}/metrics",
            metrics_endpoint,
            methods=["GET"],
            summary="Metrics for Prometheus",
            tags=["operation"],
            response_class=PlainTextResponse,
            response_description="All metrics of this process",
        )
