"""All shards of one serving process: loaded at first use, kept within a memory budget, brought forward.

PostgreSQL is the only source of what a shard holds. Hints and polls say which revision a shard should be at; it
gets there by a delta. All of this runs in one event loop; applying, and searching what takes long, run in threads.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from facepass.schemas import metrics
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.events import IndexUpdate
from facepass.schemas.faces import Embedding
from facepass.schemas.ids import SessionId
from facepass.schemas.ledger import SessionCounts
from facepass.schemas.logs import get_logger
from facepass.schemas.settings import ShardSettings
from facepass.schemas.similarity import DEFAULT_THRESHOLD
from facepass.storage.generations import Store
from facepass.storage.reads import read_ledgers
from facepass.storage.shards.deltas import read_delta
from facepass.storage.shards.face_blocks import FACE_ROW
from facepass.storage.shards.inspection import ShardInspection
from facepass.storage.shards.shard import Ranking, Shard, ShardAnswer
from facepass.storage.shards.shard_cache import HeldSession, HeldSessions

_log = get_logger(__name__)

_READS_AT_ONCE = 3
"""Loads and deltas read at once at most; more would only share the same cores."""

_CONNECTIONS_LEFT = 2
"""Connections that loads and deltas leave to others: the poll keeps the lease alive."""

_PHOTO_BYTES = 64
"""Assumed for a photo's id until it is known: a UUID takes 45."""

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
        self._sessions = HeldSessions(settings.shard_memory_mb * 2**20)
        self.inspection = ShardInspection(self._sessions)
        self._reads = asyncio.Semaphore(
            max(1, min(_READS_AT_ONCE, store.database.pool.max_size - _CONNECTIONS_LEFT))
        )
        self._searching = ThreadPoolExecutor(os.cpu_count(), "shard-search")
        self._applying = ThreadPoolExecutor(2, "shard-apply")

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
        """Find the photos of a session that show the face of `query`, best first.

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
            session = await self._loaded(session_id)
            if session.revision < min_revision and wait > 0:
                await self._reach(session, min_revision, wait)
            if session.shard is not None:
                shard, hidden = session.shard, dict(session.hidden)
                search = partial(shard.search, query, threshold=threshold, limit=limit, hidden=hidden)
                # while it changes, a search would wait for the writer's lock
                small = shard.faces <= _FACES_AT_ONCE and not session.changing
                here = small and threshold >= DEFAULT_THRESHOLD
                return await self._answer(session, shard, search, min_revision, here=here)
        raise TransientError(ErrorCode.OVERLOADED, "the session's shard was dropped again and again; try later")

    async def prepare(self, session_id: SessionId) -> None:
        """Load the session's shard if it is not held, so that a search need not wait for it.

        Raises: as `search`.
        """
        session = await self._loaded(session_id)
        if session.counts is not None and not session.counts.exists:
            raise _not_found()

    def counts(self, session_id: SessionId) -> SessionCounts | None:
        """What the newest load or poll read of a session; None if it is not held, or not read yet. Never waits."""
        session = self._sessions.get(session_id)
        return None if session is None else session.counts

    def hint(self, update: IndexUpdate) -> None:
        """Note what a message of `index-updates` says; never waits. See `HeldSession.hint`."""
        session = self._sessions.get(update.session_id)
        if session is not None and update.generation == self._store.generation.number:
            session.hint(update)

    def held(self) -> dict[SessionId, int]:
        """The sessions whose shard is held or being loaded, with the revision of the shard (-1: being loaded)."""
        return {session.session_id: session.revision for session in self._sessions}

    def note(self, held: Mapping[SessionId, int], found: Mapping[SessionId, SessionCounts]) -> None:
        """Take in what a poll found.

        A shard that was further than the database is now holds what the database has forgotten: it was restored
        from a backup, and the shard is dropped.

        Args:
            held: answer of `held`, asked before the database was.
            found: the ledger rows of those of them that the database knows.
        """
        for session_id, revision in held.items():
            session, counts = self._sessions.get(session_id), found.get(session_id)
            if session is None:
                continue
            if counts is not None:
                session.note(counts)
            if revision > (counts.revision if counts else -1):
                self._sessions.drop(session)

    async def catch_up(self) -> None:
        """Bring every held shard to its wanted revision, or drop it.

        Raises:
            TransientError: `database_unavailable`: the shards that are behind stay as they are.
        """
        behind = [session for session in self._sessions if session.shard is not None and session.behind]
        failures = await asyncio.gather(*map(self._bring_forward, behind), return_exceptions=True)
        for failure in failures:
            if isinstance(failure, BaseException):
                raise failure

    async def close(self) -> None:
        """Stop what is under way and give the memory back."""
        work = [session.work for session in self._sessions if session.work]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        for session in list(self._sessions):
            self._sessions.drop(session)
        self._searching.shutdown()
        self._applying.shutdown()

    async def _answer(
        self, session: HeldSession, shard: Shard, search: Callable[[], Ranking], min_revision: int, *, here: bool
    ) -> ShardAnswer:
        counts = session.counts
        if counts is None or not counts.exists:
            raise _not_found()
        if session.hidden_until > shard.revision:
            ranking = Ranking(matches=(), total=0, photos=0, revision=shard.revision)
        elif here:
            ranking = search()
        else:
            ranking = await asyncio.get_running_loop().run_in_executor(self._searching, search)
        return ShardAnswer(
            matches=ranking.matches,
            total=ranking.total,
            revision=ranking.revision,
            behind=max(session.wanted, min_revision, ranking.revision) - ranking.revision,
            photos=ranking.photos,
            pending=counts.pending,
            failed=counts.failed,
        )

    async def _loaded(self, session_id: SessionId) -> HeldSession:
        """The session with its shard; one load at a time, whoever waits for it."""
        session = self._sessions.get(session_id)
        if session is None:
            if not self.may_load:
                raise TransientError(ErrorCode.LEASE_EXPIRED, "this replica is not registered; try again shortly")
            session = self._sessions.add(session_id)
        self._sessions.touch(session)
        if session.shard is None:
            await _alone(session, self._load)
        return session

    async def _reach(self, session: HeldSession, revision: int, wait: float) -> None:
        """Return when the shard is at `revision` or dropped, when the time is over, or without a database."""
        try:
            async with asyncio.timeout(wait):
                await _alone(session, self._read_on)
                if session.shard is not None and session.revision < revision:
                    await _alone(session, self._read_on)  # the one before may have begun too early
                while session.shard is not None and session.revision < revision:
                    await session.advanced.wait()
        except (TimeoutError, TransientError):
            return

    async def _load(self, session: HeldSession) -> None:
        try:
            with metrics.shard_load_duration_seconds.time():
                shard = self._new_shard()
                await self._advance(session, shard)
                while shard.revision < session.wanted:
                    if not await self._advance(session, shard):
                        shard = self._new_shard()
                self._sessions.set_aside(session, shard.nbytes)
        except BaseException:
            self._sessions.drop(session)
            raise
        self._sessions.install(session, shard)
        metrics.shard_loads_total.inc()

    async def _bring_forward(self, session: HeldSession) -> None:
        while session.shard is not None and session.behind:
            await _alone(session, self._read_on)

    async def _read_on(self, session: HeldSession) -> None:
        """Bring a held shard to the newest revision, or drop it: then the next search loads it anew."""
        shard = session.shard
        if shard is None:
            return
        try:
            if await self._advance(session, shard):
                self._sessions.set_aside(session, shard.nbytes)
            else:
                self._sessions.drop(session)
        except FacePassError as exc:
            if exc.code is ErrorCode.DATABASE_UNAVAILABLE:
                raise
            _log.warning("shard_dropped", session_id=session.session_id, error=exc)
            self._sessions.drop(session)
        except BaseException:
            self._sessions.drop(session)
            raise

    async def _advance(self, session: HeldSession, shard: Shard) -> bool:
        """One delta into `shard`, which may be empty. False if no delta leads on from its revision.

        Raises:
            PermanentError: `session_not_found`, `memory_budget`.
            TransientError: `database_unavailable`, `overloaded`.
        """
        noted, since = session.wanted, shard.revision
        async with self._reads, self._store.database.transaction(snapshot=True) as connection:
            ledgers = await read_ledgers(connection, self._store.generation, [session.session_id])
            counts = ledgers[session.session_id]
            if not counts.exists:
                raise _not_found()
            # a revision below ours: the database was restored from a backup
            if since and not counts.delta_floor <= since <= counts.revision:
                return False
            if not since:
                self._sessions.set_aside(session, self._estimate(counts))
            delta = await read_delta(
                connection, self._store.generation, session.session_id, since=since, revision=counts.revision
            )
        await asyncio.get_running_loop().run_in_executor(self._applying, shard.apply, delta)
        metrics.shard_deltas_total.inc()
        session.note(counts)
        session.reached(shard.revision, noted)
        return True

    def _new_shard(self) -> Shard:
        spec = self._store.generation.spec
        return Shard(vector_size=spec.vector_size, operating_point=spec.operating_point)

    def _estimate(self, counts: SessionCounts) -> int:
        face = 2 * self._store.generation.spec.vector_size + FACE_ROW.itemsize
        return counts.face_count * face + counts.photo_count * _PHOTO_BYTES


async def _alone(session: HeldSession, work: Callable[[HeldSession], Coroutine[None, None, None]]) -> None:
    """Wait for what is under way for this session's shard; begin `work` if nothing is. Who waits may be cancelled,
    the work goes on."""
    if session.work is None or session.work.done():
        session.work = asyncio.create_task(work(session))
        session.work.add_done_callback(_note_failure)
    await asyncio.shield(session.work)


def _note_failure(work: asyncio.Task[None]) -> None:
    """Whoever waited has the exception; without anybody waiting it must not be reported as lost."""
    if not work.cancelled():
        work.exception()


def _not_found() -> PermanentError:
    return PermanentError(ErrorCode.SESSION_NOT_FOUND, "nothing is known of this session")
