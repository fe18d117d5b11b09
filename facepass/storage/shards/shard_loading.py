"""Shards on their way from the database into memory: the first load, and every delta after it.

One at a time for a session, whoever waits for it; a few sessions at once. Reading happens in the event loop,
applying in threads.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor

from facepass.schemas import metrics
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError
from facepass.schemas.ledger import SessionCounts
from facepass.schemas.logs import get_logger
from facepass.storage.generations import Store
from facepass.storage.reads import read_ledgers
from facepass.storage.shards.deltas import read_delta
from facepass.storage.shards.face_blocks import FACE_ROW
from facepass.storage.shards.shard import Shard
from facepass.storage.shards.shard_cache import CachedShard, ShardCache

_log = get_logger(__name__)

_READS_AT_ONCE = 3
"""Loads and deltas read at once at most; more would only share the same cores."""

_CONNECTIONS_LEFT = 2
"""Connections that loads and deltas leave to others: the poll keeps the lease alive."""

_PHOTO_BYTES = 64
"""Assumed for a photo's id until it is known: a UUID takes 45."""


class ShardLoading:
    """A loader of the shards of a cache, which also brings them forward. `close` it when nothing is under way."""

    def __init__(self, store: Store, cache: ShardCache) -> None:
        self._store = store
        self._cache = cache
        self._reads = asyncio.Semaphore(
            max(1, min(_READS_AT_ONCE, store.database.pool.max_size - _CONNECTIONS_LEFT))
        )
        self._applying = ThreadPoolExecutor(2, "shard-apply")

    async def load(self, cached: CachedShard) -> None:
        """Load a shard that is not there yet, at its wanted revision or above; one that fails is dropped.

        Raises:
            PermanentError: `session_not_found`, `memory_budget`.
            TransientError: `database_unavailable`, `overloaded`.
        """
        await _alone(cached, self._load)

    async def read_on(self, cached: CachedShard) -> None:
        """Bring a held shard to the newest revision, or drop it: then the next search loads it anew.

        Raises:
            TransientError: `database_unavailable`: the shard stays as it is.
        """
        await _alone(cached, self._read_on)

    async def bring_forward(self, cached: CachedShard) -> None:
        """Bring a held shard to its wanted revision, or drop it; raises as `read_on`."""
        while cached.shard is not None and cached.behind:
            await _alone(cached, self._read_on)

    def close(self) -> None:
        """Give the threads back."""
        self._applying.shutdown()

    async def _load(self, cached: CachedShard) -> None:
        try:
            with metrics.shard_load_duration_seconds.time():
                shard = self._new_shard()
                await self._advance(cached, shard)
                while shard.revision < cached.wanted:
                    if not await self._advance(cached, shard):
                        shard = self._new_shard()
                self._cache.set_aside(cached, shard.nbytes)
        except BaseException:
            self._cache.drop(cached)
            raise
        self._cache.install(cached, shard)
        metrics.shard_loads_total.inc()

    async def _read_on(self, cached: CachedShard) -> None:
        shard = cached.shard
        if shard is None:
            return
        try:
            if await self._advance(cached, shard):
                self._cache.set_aside(cached, shard.nbytes)
            else:
                self._cache.drop(cached)
        except FacePassError as exc:
            if exc.code is ErrorCode.DATABASE_UNAVAILABLE:
                raise
            deleted = exc.code is ErrorCode.SESSION_NOT_FOUND  # how a shard ends as a rule
            tell = _log.info if deleted else _log.warning
            tell("shard_dropped", session_id=cached.session_id, error=exc)
            self._cache.drop(cached)
        except BaseException:
            self._cache.drop(cached)
            raise

    async def _advance(self, cached: CachedShard, shard: Shard) -> bool:
        """One delta into `shard`, which may be empty. False if no delta leads on from its revision.

        Raises:
            PermanentError: `session_not_found`, `memory_budget`.
            TransientError: `database_unavailable`, `overloaded`.
        """
        noted, since = cached.wanted, shard.revision
        async with self._reads, self._store.database.transaction(snapshot=True) as connection:
            ledgers = await read_ledgers(connection, self._store.generation, [cached.session_id])
            counts = ledgers[cached.session_id]
            if not counts.exists:
                raise not_found()
            # a revision below ours: the database was restored from a backup
            if since and not counts.delta_floor <= since <= counts.revision:
                return False
            if not since:
                self._cache.set_aside(cached, self._estimate(counts))
            delta = await read_delta(
                connection, self._store.generation, cached.session_id, since=since, revision=counts.revision
            )
        # In a thread, under the shard's own lock: the event loop serves others meanwhile.
        await asyncio.get_running_loop().run_in_executor(self._applying, shard.apply, delta)
        metrics.shard_deltas_total.inc()
        cached.note(counts)
        cached.reached(shard.revision, noted)
        return True

    def _new_shard(self) -> Shard:
        spec = self._store.generation.spec
        return Shard(vector_size=spec.vector_size, operating_point=spec.operating_point)

    def _estimate(self, counts: SessionCounts) -> int:
        face = 2 * self._store.generation.spec.vector_size + FACE_ROW.itemsize
        return counts.face_count * face + counts.photo_count * _PHOTO_BYTES


async def _alone(cached: CachedShard, work: Callable[[CachedShard], Coroutine[None, None, None]]) -> None:
    """Wait for what is under way for this session's shard; begin `work` if nothing is. Who waits may be cancelled,
    the work goes on."""
    if cached.work is None or cached.work.done():
        cached.work = asyncio.create_task(work(cached))
        cached.work.add_done_callback(_note_failure)
    await asyncio.shield(cached.work)


def _note_failure(work: asyncio.Task[None]) -> None:
    """Look at the exception. Whoever waited has it; without anybody waiting it must not be reported as lost."""
    if not work.cancelled():
        work.exception()


def not_found() -> PermanentError:
    """The error of a session that nothing is known of."""
    return PermanentError(ErrorCode.SESSION_NOT_FOUND, "nothing is known of this session")
