"""The HTTP port of a consuming process: `/metrics`, `/health`, `/ready`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from facepass import __version__


@asynccontextmanager
async def open_probes(
    port: int,
    *,
    worker: str,
    not_ready: Callable[[], str | None],
    host: str = "0.0.0.0",  # noqa: S104 - Prometheus and the orchestrator ask from outside the container
) -> AsyncIterator[int]:
    """Answer on `port` while the block runs; 0 takes a free one. Yields the port.

    `/health` says that the event loop turns; `/ready` answers 503 with the reason as long as `not_ready` has one.
    """

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy", "worker": worker, "version": __version__})

    async def ready(_request: web.Request) -> web.Response:
        reason = not_ready()
        body = {"ready": reason is None, **({"reason": reason} if reason else {})}
        return web.json_response(body, status=503 if reason else 200)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/health", health), web.get("/ready", ready), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
