"""The shards that a serving process holds, and what is known of each session that its shard does not hold yet.

All of it belongs to the event loop: no thread touches it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from facepass.schemas import metrics
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.events import IndexUpdate
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import SessionCounts, UpdateStatus
from facepass.storage.shards.shard import Shard

_SHARD_BYTES = 8192
"""Set aside for any shard, so that sessions without a face count against the budget too."""


@dataclass(slots=True, kw_only=True, eq=False)
class CachedShard:
    """One session's shard, while it is held or being loaded.

    Attributes:
        shard: None while the first load is under way, and after the shard was dropped.
        counts: the newest ledger row read.
        wanted: the revision that the shard should be at, noted also while the shard is being loaded.
        hidden: photos whose deletion was heard of, until the shard is at the revision given with each.
        hidden_until: the same for the whole session.
        nbytes: memory set aside for the shard.
        work: the load or catch-up under way.
        advanced: set, and replaced, whenever the shard got further.
    """

    session_id: SessionId
    shard: Shard | None = None
    counts: SessionCounts | None = None
    wanted: int = 0
    hidden: dict[PhotoId, int] = field(default_factory=dict)
    hidden_until: int = 0
    nbytes: int = 0
    work: asyncio.Task[None] | None = None
    advanced: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def revision(self) -> int:
        """The revision of the shard; -1 without one."""
        return -1 if self.shard is None else self.shard.revision

    @property
    def behind(self) -> bool:
        """True if the shard's revision is below the wanted one."""
        return self.revision < self.wanted

    @property
    def changing(self) -> bool:
        """True if the shard is being loaded or brought forward."""
        return self.work is not None and not self.work.done()

    def hint(self, update: IndexUpdate) -> None:
        """Take in a hint of this session and generation. One that the shard is past already changes nothing."""
        if update.revision <= self.revision:
            return
        self.wanted = max(self.wanted, update.revision)
        if update.status is UpdateStatus.SESSION_DELETED:
            self.hidden_until = max(self.hidden_until, update.revision)
        elif update.status is UpdateStatus.DELETED and update.photo_id is not None:
            self.hidden[update.photo_id] = max(self.hidden.get(update.photo_id, 0), update.revision)

    def note(self, counts: SessionCounts) -> None:
        """Take in a ledger row that was read from the database."""
        self.wanted = max(self.wanted, counts.revision)
        if self.counts is None or counts.revision >= self.counts.revision:
            self.counts = counts

    def reached(self, revision: int, noted: int) -> None:
        """Note that the shard is at `revision`, by a read that began when `noted` was wanted.

        A hint follows its commit, so what was wanted then and was not found does not exist: the hint is from
        before the database was restored or replaced. Nothing would ever reach it, so it is forgotten.
        """
        if self.wanted <= noted:
            self.wanted = min(self.wanted, revision)
        past = max(revision, noted)
        self.hidden = {photo: until for photo, until in self.hidden.items() if until > past}
        if self.hidden_until <= past:
            self.hidden_until = 0
        self.advanced.set()
        self.advanced = asyncio.Event()


class ShardCache:
    """All cached shards, within a memory budget: the shard used longest ago goes first. Iterates in that order."""

    def __init__(self, budget: int) -> None:
        """Start empty; `budget`: bytes of all shards."""
        self._budget = budget
        self._used = 0
        self._cached: OrderedDict[SessionId, CachedShard] = OrderedDict()

    def __iter__(self) -> Iterator[CachedShard]:
        return iter(self._cached.values())

    def get(self, session_id: SessionId) -> CachedShard | None:
        """The session as it is cached; None if it is not."""
        return self._cached.get(session_id)

    def add(self, session_id: SessionId) -> CachedShard:
        """Begin to hold a session; its shard is to be loaded."""
        cached = self._cached[session_id] = CachedShard(session_id=session_id)
        return cached

    def touch(self, cached: CachedShard) -> None:
        """Note that the session is being searched now."""
        self._cached.move_to_end(cached.session_id)

    def install(self, cached: CachedShard, shard: Shard) -> None:
        """Put a loaded shard into its place."""
        cached.shard = shard
        metrics.shards_loaded.inc()

    def set_aside(self, cached: CachedShard, nbytes: int) -> None:
        """Give the session's shard room for `nbytes`, dropping others to keep within the budget.

        Raises:
            PermanentError: `memory_budget`: larger than the whole budget.
            TransientError: `overloaded`: too much is set aside for shards that are being loaded.
        """
        if self._cached.get(cached.session_id) is not cached:
            return  # dropped while its delta was under way: its memory goes with it
        self._weigh(cached, _SHARD_BYTES + nbytes)
        if cached.nbytes > self._budget:
            raise PermanentError(
                ErrorCode.MEMORY_BUDGET,
                "the session's shard is larger than the memory budget of all; raise FACEPASS_SHARD_MEMORY_MB",
                needed_mb=-(-cached.nbytes // 2**20),
            )
        for other in list(self):
            if self._used > self._budget and other is not cached and other.shard is not None:
                self.drop(other)
                metrics.shard_evictions_total.inc()
        if self._used > self._budget:
            raise TransientError(ErrorCode.OVERLOADED, "too many shards are being loaded at once; try again soon")

    def drop(self, cached: CachedShard) -> None:
        """Give the memory back and forget the session; the next search loads it anew."""
        if self._cached.get(cached.session_id) is not cached:
            return
        del self._cached[cached.session_id]
        self._weigh(cached, 0)
        if cached.shard is not None:
            cached.shard = None
            metrics.shards_loaded.dec()
        cached.advanced.set()

    def _weigh(self, cached: CachedShard, nbytes: int) -> None:
        self._used += nbytes - cached.nbytes
        cached.nbytes = nbytes
        metrics.shard_bytes.set(self._used)
