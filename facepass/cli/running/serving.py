"""The process `facepass serve`: the HTTP API, its shards and their follower in one event loop."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn

from facepass.cli.running.core_dumps import forbid_core_dumps
from facepass.cli.running.listening import listen
from facepass.embedding import FaceEngine, open_engine
from facepass.schemas.logs import get_logger
from facepass.schemas.settings import (
    AccessSettings,
    DatabaseSettings,
    IndexingSettings,
    KafkaSettings,
    LeaseSettings,
    ModelSettings,
    PageSettings,
    PhotoStoreSettings,
    SearchSettings,
    ShardSettings,
    read_settings,
)
from facepass.search_api import CONTROL_HOST, Resources, create_app, create_control_app
from facepass.search_api.http import BoundedReads
from facepass.storage import open_database, open_store
from facepass.storage.photos import UploadStore, open_photo_store
from facepass.storage.shards import Replica, Shards
from facepass.streams import build_follower
from facepass.streams.kafka import open_reconnecting_publisher
from facepass.streams.process import open_waiting, until_available
from facepass.use_cases import PhotoResults

_log = get_logger(__name__)

_DRAIN_SECONDS = 5
"""What requests under way get to finish after a signal; with closing them less than the ten seconds after
which `docker stop` kills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """Every group that serving uses, read before anything is opened."""

    database: DatabaseSettings
    search: SearchSettings
    access: AccessSettings
    indexing: IndexingSettings
    page: PageSettings
    photos: PhotoStoreSettings
    kafka: KafkaSettings
    lease: LeaseSettings
    shards: ShardSettings
    model: ModelSettings


class _ControlServer(uvicorn.Server):
    """The server of the control port. It ends when it is told to: the signals are the public server's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:  # uvicorn enters it around its serving
        """Leave the signals alone while the block runs."""
        yield


async def serve(host: str, port: int, *, control_port: int | None = None) -> None:
    """Answer searches until SIGTERM or SIGINT.

    Args:
        control_port: of `create_control_app`, on 127.0.0.1; 0 takes a free one, None none at all.

    Raises:
        FacePassError: `invalid_setting` (the port is taken too), `invalid_pack`, `not_migrated`,
            `generation_mismatch`. An absent database is waited for.
    """
    forbid_core_dumps()
    settings = _Settings(
        database=read_settings(DatabaseSettings),
        search=read_settings(SearchSettings),
        access=read_settings(AccessSettings),
        indexing=read_settings(IndexingSettings),
        page=read_settings(PageSettings),
        photos=read_settings(PhotoStoreSettings),
        kafka=read_settings(KafkaSettings),
        lease=read_settings(LeaseSettings),
        shards=read_settings(ShardSettings),
        model=read_settings(ModelSettings),
    )
    with ExitStack() as listening:
        server = listening.enter_context(listen(host, port, "--port"))
        control = None
        if control_port is not None:
            control = listening.enter_context(listen(CONTROL_HOST, control_port, "--control-port"))
        engine = await asyncio.to_thread(open_engine, settings.model)
        async with AsyncExitStack() as stack:
            resources = await _open_resources(stack, engine, settings)
            if control is not None:
                await stack.enter_async_context(_controlled(resources, control))
            await _answer(resources, server)


async def _open_resources(stack: AsyncExitStack, engine: FaceEngine, settings: _Settings) -> Resources:
    database = await open_waiting(stack, lambda: open_database(settings.database), waiting_for="PostgreSQL")
    store = await until_available(lambda: open_store(database, engine.spec), waiting_for="PostgreSQL")
    shards = Shards(store, settings.shards)
    stack.push_async_callback(shards.close)
    replica = Replica(store, shards, settings.lease)
    stack.push_async_callback(replica.close)
    await until_available(replica.register, waiting_for="PostgreSQL")
    results = PhotoResults(store)
    follower = build_follower(settings.kafka, settings.lease, shards, replica, results)
    await stack.enter_async_context(follower.running())  # three tasks, until the stack is closed
    return Resources(
        store=store,
        engine=engine,
        shards=shards,
        replica=replica,
        search=settings.search,
        access=settings.access,
        indexing=settings.indexing,
        page=settings.page,
        lease=settings.lease,
        events=await stack.enter_async_context(open_reconnecting_publisher(settings.kafka)),
        results=results,
        uploads=UploadStore(database, await stack.enter_async_context(open_photo_store(settings.photos))),
        broker_healthy=follower.broker_healthy,
    )


@asynccontextmanager
async def _controlled(resources: Resources, listening: socket.socket) -> AsyncIterator[None]:
    """The control port, for the time of the block."""
    config = uvicorn.Config(
        create_control_app(resources),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    server = _ControlServer(config)
    # It answers beside the public server until the block ends.
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    _log.info("control", address="{}:{}".format(*listening.getsockname()[:2]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


async def _answer(resources: Resources, server: socket.socket) -> None:
    # uvicorn raises the signal that ended it anew, to end the process: with these handlers it only returns, and
    # the resources are closed in order.
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None)
    config = uvicorn.Config(
        create_app(resources),
        http=BoundedReads,
        proxy_headers=False,  # X-Forwarded-For is read by the limits alone, from FACEPASS_TRUSTED_PROXIES
        log_config=None,  # structlog's handlers stay; one line a request comes from the application itself
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    _log.info("serving", address="{}:{}".format(*server.getsockname()[:2]), model=resources.engine.spec.pack)
    await uvicorn.Server(config).serve(sockets=[server])
    _log.info("stopped", worker="serve")
