"""The application behind a real uvicorn on a free port, in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from facepass.cli.running.listening import listen
from facepass.search_api.http.protocol import BoundedReads


@asynccontextmanager
async def live_server(app: FastAPI) -> AsyncIterator[str]:
    """Base URL of the running application. Its lifespan is the caller's."""
    listening = listen("127.0.0.1", 0, "--port")
    config = uvicorn.Config(
        app,
        lifespan="off",
        http=BoundedReads,
        access_log=False,
        log_config=None,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn sets a flag, no event
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listening.close()
