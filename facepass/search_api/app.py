"""The HTTP API as one FastAPI application."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from fastapi import FastAPI

from facepass import __version__
from facepass.search_api.access import Guard, GuestDoor, SecurityHeaders, add_cors
from facepass.search_api.http import (
    PREFIXES,
    ConcurrencyLimit,
    DocumentedApp,
    DrainRefused,
    RequestLog,
    SegmentPaths,
    add_docs,
    answer_errors,
    check_direct_routes,
)
from facepass.search_api.indexing import IndexResources, index_routes
from facepass.search_api.legacy import legacy_routes
from facepass.search_api.page import page_routes
from facepass.search_api.probes import probe_routes
from facepass.search_api.resources import Resources
from facepass.search_api.searching import SearchResources, explain_routes, search_routes
from facepass.search_api.sessions import session_routes

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_DESCRIPTION = """Finds the photos of one person in one photo session.

Every error has the same shape: a `code` for programs, a `message` for people, and `details`.
A selfie is kept in memory for the time of its request, and nowhere else."""


def create_app(resources: Resources, lifespan: Lifespan | None = None) -> FastAPI:
    """Build the application.

    Args:
        resources: opened by the caller, who closes them after the application has stopped.
        lifespan: runs around the serving time, for what lives in the same event loop.
    """
    guard = Guard(resources.access, resources.store.database)
    # One more than compute at once: while a decoder works for one of them, the others have the cores.
    threads = ThreadPoolExecutor(resources.engine.threads + 1, thread_name_prefix="selfie")
    app = DocumentedApp(
        title="FacePass",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_with_threads(threads, guard, lifespan),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    _add_routes(app, resources, guard, threads)
    check_direct_routes(app)
    add_docs(app)
    answer_errors(app)
    # The middleware that is added last is called first.
    app.add_middleware(SegmentPaths)
    add_cors(app, resources.access.cors_origins)
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


def _add_routes(app: FastAPI, resources: Resources, guard: Guard, threads: Executor) -> None:
    searching, indexing = _search_resources(resources, threads), _index_resources(resources)
    door = GuestDoor(
        guard=guard,
        store=resources.store,
        shards=resources.shards,
        unannounced=resources.access.unannounced,
    )
    probes = probe_routes(
        resources.store.database, resources.replica, resources.engine.spec.pack, resources.broker_healthy
    )
    # Built once and included under both prefixes: what they count, they count together.
    routers = [
        search_routes(searching, door),
        session_routes(resources.store, door),
        explain_routes(searching, door),
        index_routes(indexing, guard),
        *legacy_routes(resources.access, searching, indexing, door),
        page_routes(resources.page, door),
        probes,
    ]
    for prefix in PREFIXES:
        for router in routers:
            app.include_router(router, prefix=prefix)
    app.include_router(probes)


def _search_resources(resources: Resources, threads: Executor) -> SearchResources:
    return SearchResources(
        store=resources.store,
        engine=resources.engine,
        shards=resources.shards,
        replica=resources.replica,
        settings=resources.search,
        threads=threads,
        under_way=ConcurrencyLimit(resources.search.searches_at_once),
    )


def _index_resources(resources: Resources) -> IndexResources:
    return IndexResources(
        store=resources.store,
        events=resources.events,
        results=resources.results,
        uploads=resources.uploads,
        settings=resources.indexing,
        images=resources.search,
        lease=resources.lease,
    )
