"""All shards of one serving process: searched, loaded at first use, and told what changed.

PostgreSQL is the only source of what a shard holds. Hints and polls say which revision a shard should be at; it
gets there by a delta (`shard_loading`). All of this runs in one event loop; searching what takes long, in threads.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.events import IndexUpdate
from facepass.schemas.faces import Embedding
from facepass.schemas.ids import SessionId
from facepass.schemas.ledger import SessionCounts
from facepass.schemas.settings import ShardSettings
from facepass.schemas.similarity import DEFAULT_THRESHOLD
from facepass.storage.generations import Store
from facepass.storage.shards.inspection import ShardInspection
from facepass.storage.shards.shard import Ranking, Shard, ShardAnswer
from facepass.storage.shards.shard_cache import CachedShard, ShardCache
from facepass.storage.shards.shard_loading import ShardLoading, not_found

_FACES_AT_ONCE = 5_000
"""Up to so many are searched without a thread, at the default threshold or above: on an AMD EPYC that takes
0.17 ms of the event loop, and the way to a thread and back 0.25 ms. Where many faces reach the threshold it may
take 7 ms."""

_ATTEMPTS = 3
"""A search begins anew when its shard is dropped under its hands; more often than this, memory is too short."""


class Shards:
    """The shards of one generation. `close` it at the end.

    Attributes:
        may_load: cleared while this process is not registered as a replica: what is loaded then could miss a
            deletion that does not wait for it.
        inspection: what the shards hold, for the poll and the control port.
    """

    def __init__(self, store: Store, settings: ShardSettings) -> None:
        self.may_load = True
        self._store = store
        self._cache = ShardCache(settings.shard_memory_mb * 2**20)
        self.inspection = ShardInspection(self._cache)
        self._loading = ShardLoading(store, self._cache)
        self._searching = ThreadPoolExecutor(os.cpu_count(), "shard-search")

    async def search(
        self,
        session_id: SessionId,
        query: Embedding,
        *,
        threshold: float,
        limit: int,
        min_revision: int = 0,
        wait: float = 0.0,
    ) -> ShardAnswer:
        """The photos of a session that show the face of `query`, best first.

        Args:
            query: shape (vector size,), L2 norm 1.
            threshold: a similarity, 0 to 1: every photo with a face at or above it counts.
            limit: photos in the answer at most.
            min_revision, wait: wait up to `wait` seconds until the shard is at `min_revision`.

        Raises:
            PermanentError: `session_not_found`: unknown, or deleted and nothing came after; `memory_budget`: the
                shard is larger than the whole budget.
            TransientError: `database_unavailable` while loading; `overloaded`: no memory while other shards
                load; `lease_expired`: not registered as a replica.
        """
        for _ in range(_ATTEMPTS):
            cached = await self._loaded(session_id)
            if wait > 0 and cached.revision < min_revision:
                await self._reach(cached, min_revision, wait)
            if cached.shard is not None:
                shard, hidden = cached.shard, dict(cached.hidden)
                search = partial(shard.search, query, threshold=threshold, limit=limit, hidden=hidden)
                # while it changes, a search would wait for the writer's lock
                small = not cached.changing and shard.faces <= _FACES_AT_ONCE
                here = small and threshold >= DEFAULT_THRESHOLD
                return await self._answer(cached, shard, search, min_revision, here=here)
        raise TransientError(ErrorCode.OVERLOADED, "the session's shard was dropped again and again; try later")

    async def prepare(self, session_id: SessionId) -> None:
        """Load the session's shard if it is not held, so that a search need not wait for it.

        Raises: as `search`.
        """
        cached = await self._loaded(session_id)
        if cached.counts is not None and not cached.counts.exists:
            raise not_found()

    def counts(self, session_id: SessionId) -> SessionCounts | None:
        """The session's counts as the newest load or poll read them; None if not held or not read. Never waits."""
        cached = self._cache.get(session_id)
        return None if cached is None else cached.counts

    def hint(self, update: IndexUpdate) -> None:
        """Note what a message of `index-updates` says; never waits. See `CachedShard.hint`."""
        cached = self._cache.get(update.session_id)
        if cached is not None and update.generation == self._store.generation.number:
            cached.hint(update)

    def held(self) -> dict[SessionId, int]:
        """The sessions whose shard is held or being loaded, with the revision of the shard (-1: being loaded)."""
        return {cached.session_id: cached.revision for cached in self._cache}

    def note(self, held: Mapping[SessionId, int], found: Mapping[SessionId, SessionCounts]) -> None:
        """Take in what a poll found.

        A shard that was further than the database is now holds what the database has forgotten: it was restored
        from a backup, and the shard is dropped.

        Args:
            held: answer of `held`, asked before the database was.
            found: the ledger rows of those of them that the database knows.
        """
        for session_id, revision in held.items():
            cached, counts = self._cache.get(session_id), found.get(session_id)
            if cached is None:
                continue
            if counts is not None:
                cached.note(counts)
            if revision > (counts.revision if counts else -1):
                self._cache.drop(cached)

    async def catch_up(self) -> None:
        """Bring every held shard to its wanted revision, or drop it.

        Raises:
            TransientError: `database_unavailable`: the shards that are behind stay as they are.
        """
        behind = [cached for cached in self._cache if cached.shard is not None and cached.behind]
        failures = await asyncio.gather(*map(self._loading.bring_forward, behind), return_exceptions=True)
        for failure in failures:
            if isinstance(failure, BaseException):
                raise failure

    async def close(self) -> None:
        """Stop what is under way and give the memory back."""
        work = [cached.work for cached in self._cache if cached.work]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        for cached in list(self._cache):
            self._cache.drop(cached)
        self._searching.shutdown()
        self._loading.close()

    async def _answer(
        self, cached: CachedShard, shard: Shard, search: Callable[[], Ranking], min_revision: int, *, here: bool
    ) -> ShardAnswer:
        counts = cached.counts
        if counts is None or not counts.exists:
            raise not_found()
        if cached.hidden_until > shard.revision:
            ranking = Ranking(matches=(), total=0, photos=0, revision=shard.revision)
        elif here:
            ranking = search()
        else:
            # In a thread: `Shard.search`, with the arguments bound in `search` above.
            ranking = await asyncio.get_running_loop().run_in_executor(self._searching, search)
        return ShardAnswer(
            matches=ranking.matches,
            total=ranking.total,
            revision=ranking.revision,
            behind=max(cached.wanted, min_revision, ranking.revision) - ranking.revision,
            photos=ranking.photos,
            pending=counts.pending,
            failed=counts.failed,
        )

    async def _loaded(self, session_id: SessionId) -> CachedShard:
        """The session with its shard; one load at a time, whoever waits for it."""
        cached = self._cache.get(session_id)
        if cached is None:
            if not self.may_load:
                raise TransientError(ErrorCode.LEASE_EXPIRED, "this replica is not registered; try again shortly")
            cached = self._cache.add(session_id)
        self._cache.touch(cached)
        if cached.shard is None:
            await self._loading.load(cached)
        return cached

    async def _reach(self, cached: CachedShard, revision: int, wait: float) -> None:
        """Wait until the shard is at `revision` or dropped, the time is over, or no database is there."""
        try:
            async with asyncio.timeout(wait):
                await self._loading.read_on(cached)
                if cached.shard is not None and cached.revision < revision:
                    await self._loading.read_on(cached)  # the one before may have begun too early
                while cached.shard is not None and cached.revision < revision:
                    await cached.advanced.wait()
        except (TimeoutError, TransientError):
            return
