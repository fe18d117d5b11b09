"""The HTTP API as one FastAPI application."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from fastapi import FastAPI

from facepass import __version__
from facepass.search_api.access import Guard, SecurityHeaders, add_cors
from facepass.search_api.http import (
    PREFIXES,
    ConcurrencyLimit,
    DocumentedApp,
    DrainRefused,
    RequestLog,
    SegmentPaths,
    add_docs,
    answer_errors,
)
from facepass.search_api.indexing import index_routes
from facepass.search_api.legacy import legacy_routes
from facepass.search_api.page import page_routes
from facepass.search_api.parts import Parts
from facepass.search_api.probes import probe_routes
from facepass.search_api.searching import explain_routes, search_routes
from facepass.search_api.sessions import session_routes

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_DESCRIPTION = """Finds the photos of one person in one photo session.

Every error has the same shape: a `code` for programs, a `message` for people, and `details`.
A selfie is kept in memory for the time of its request, and nowhere else."""


def create_app(parts: Parts, lifespan: Lifespan | None = None) -> FastAPI:
    """Build the application from opened parts.

    Args:
        parts: opened by the caller, who closes them after the application has stopped.
        lifespan: runs around the serving time, for what lives in the same event loop.
    """
    guard = Guard(parts)
    # One more than compute at once: while a decoder works for one of them, the others have the cores.
    threads = ThreadPoolExecutor(parts.engine.threads + 1, thread_name_prefix="selfie")
    app = DocumentedApp(
        title="FacePass",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_with_threads(threads, guard, lifespan),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    _add_routes(app, parts, guard, threads)
    add_docs(app)
    answer_errors(app)
    app.add_middleware(SegmentPaths)
    add_cors(app, parts.access.cors_origins)
    app.add_middleware(RequestLog)
    app.add_middleware(DrainRefused)  # outside: the log line does not wait for the rest of a refused upload
    app.add_middleware(SecurityHeaders)
    return app


def _with_threads(threads: ThreadPoolExecutor, guard: Guard, inner: Lifespan | None) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with inner(app) if inner else nullcontext():
                yield
        finally:
            await guard.close()
            threads.shutdown(wait=False, cancel_futures=True)

    return lifespan


def _add_routes(app: FastAPI, parts: Parts, guard: Guard, threads: ThreadPoolExecutor) -> None:
    probes = probe_routes(parts)
    slots = ConcurrencyLimit(parts.settings.searches_at_once)
    # Built once and included under both prefixes: what they count, they count together.
    routers = [
        search_routes(parts, guard, threads, slots),
        session_routes(parts, guard),
        explain_routes(parts, guard, threads, slots),
        index_routes(parts, guard),
        legacy_routes(parts, guard, threads, slots),
        page_routes(parts),
        probes,
    ]
    for prefix in PREFIXES:
        for router in routers:
            app.include_router(router, prefix=prefix)
    app.include_router(probes)
