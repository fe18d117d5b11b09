"""A serving process as the database knows it: registration, poll and lease.

Together they keep the promise that nothing deleted is returned to a search begun after the deletion was
acknowledged, and that a process which is cut off, or frozen and woken, shows it for no longer than a lease.
docs/decisions/poll-and-lease.md has the rules and why each is there; every one was checked against a model, so
their order is not a matter of taste.
"""

import asyncio
import math
import time
import uuid
from datetime import datetime

from psycopg.rows import scalar_row

from facepass.schemas import metrics
from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.logs import get_logger
from facepass.schemas.settings import LeaseSettings
from facepass.storage.database import Connection
from facepass.storage.generations import Store
from facepass.storage.reads import read_ledgers
from facepass.storage.shards.shards import Shards
from facepass.storage.statements import load_statements

_log = get_logger(__name__)

_STATEMENTS = load_statements("replicas")

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps; where CLOCK_BOOTTIME is missing (macOS), CLOCK_MONOTONIC does."""


def clock() -> float:
    """Seconds on the clock that leases are measured by."""
    return time.clock_gettime(_CLOCK)


class Replica:
    """One serving process. `register` it before anything is loaded, `poll` it about once a second."""

    def __init__(self, store: Store, shards: Shards, settings: LeaseSettings) -> None:
        self.replica_id = str(uuid.uuid4())
        self._store = store
        self._shards = shards
        self._lease_seconds = settings.lease_seconds
        self._polling = asyncio.Lock()
        self._polled_at: float | None = None
        self._shards.may_load = False
        metrics.poll_age_seconds.set_function(lambda: math.nan if (age := self.poll_age()) is None else age)

    async def register(self) -> None:
        """Make this process known: from now on every deletion waits for it. Then shards may be loaded.

        Raises:
            TransientError: `database_unavailable`.
        """
        await self._execute("register")
        self._shards.may_load = True

    async def poll(self) -> None:
        """One complete poll, which gives a new lease. One at a time; registers first where that is missing.

        Raises:
            TransientError: `database_unavailable`, also if it takes as long as a lease. The old lease runs out.
        """
        try:
            async with self._polling, asyncio.timeout(self._lease_seconds):
                while not await self._poll_once():
                    _log.warning("replica_registers_anew", replica_id=self.replica_id)
                    self._shards.may_load = False
                    await self.register()
        except TimeoutError as exc:
            metrics.polls_total.labels("failed").inc()
            raise TransientError(ErrorCode.DATABASE_UNAVAILABLE, "the poll took as long as a lease") from exc
        except BaseException:
            metrics.polls_total.labels("failed").inc()
            raise
        metrics.polls_total.labels("complete").inc()

    def deadline(self) -> float | None:
        """The end of the lease in force, in seconds of `clock`; None before the first complete poll.

        A search notes it before it takes hold of a shard, and its answer leaves only before it.
        """
        return None if self._polled_at is None else self._polled_at + self._lease_seconds

    def poll_age(self) -> float | None:
        """Seconds since the last complete poll was sent; None before the first."""
        return None if self._polled_at is None else clock() - self._polled_at

    @staticmethod
    def expired(deadline: float) -> bool:
        """True if `deadline` has passed."""
        return clock() >= deadline

    async def close(self) -> None:
        """Stop serving: no lease any more, and deletions need not wait for this process.

        Raises:
            TransientError: `database_unavailable`: deletions wait until the lease has run out.
        """
        self._shards.may_load = False
        self._polled_at = None
        await self._execute("remove")

    async def _poll_once(self) -> bool:
        """Poll once; False if this replica's row is gone: what was polled then counts for nothing."""
        sent = clock()
        async with self._store.database.transaction() as connection:
            as_of = await _begin_poll(connection)
            # only now: what is loaded from here on sees all that was committed before `as_of`
            held = self._shards.held()
            ledgers = await read_ledgers(connection, self._store.generation, held)
        found = {session_id: counts for session_id, counts in ledgers.items() if counts.known}
        self._shards.note(held, found)
        self._shards.inspection.drop_miscounted(found)
        await self._shards.catch_up()
        if not await self._execute("record", as_of=as_of):
            return False
        self._polled_at = sent
        return True

    async def _execute(self, statement: str, **values: object) -> int:
        """Run a statement about this replica in a transaction of its own; the number of rows it changed."""
        async with self._store.database.transaction() as connection:
            cursor = await connection.execute(_STATEMENTS[statement], {"replica": self.replica_id, **values})
            return cursor.rowcount


async def _begin_poll(connection: Connection) -> datetime:
    cursor = connection.cursor(row_factory=scalar_row)
    as_of: datetime | None = await (await cursor.execute(_STATEMENTS["begin_poll"])).fetchone()
    assert as_of is not None  # noqa: S101 - SELECT of one function
    return as_of
