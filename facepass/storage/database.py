"""The connection to PostgreSQL: pool, transactions, and the translation of the driver's errors.

PostgreSQL's error detail quotes the failing row, and with it vectors. Only SQLSTATE and primary message pass this
module; every error is raised `from None`, so that no traceback holds the driver's text either.
"""

import random
from asyncio import sleep, timeout
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.metrics import db_connections_active
from facepass.schemas.settings import DatabaseSettings

Connection = AsyncConnection[TupleRow]
T = TypeVar("T")

_CONNECT_SECONDS = 5
"""One attempt to connect; libpq's own default waits for the operating system, for minutes."""

_CHECK_SECONDS = 5.0
"""How long a connection may take to answer that it is alive. Without this limit the caller that is handed one of a
network that swallows packets, or of a proxy that hangs, would wait as long as the operating system does."""

_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
"""Seconds, and milliseconds: a peer that is gone ends the statement under way within half a minute; by Linux's own
defaults it would take two hours. One that is busy, or stopped, acknowledges all the same."""

_POOL_WAIT_SECONDS = 10.0
"""How long a caller waits for a connection before the database counts as unavailable."""

_RECONNECT_SECONDS = 5.0
"""How long the pool goes on by itself when the server is away; then the next caller begins anew. Its pauses
double: without this limit, up to half the outage would be lost again after it, and with that the serving lease."""

_IDLE_SECONDS = 20
_STATEMENT_SECONDS = 1800
"""After these the server ends a transaction whose client says nothing, or cancels a statement. A process that is
frozen or cut off in a transaction keeps its sessions' locks, and every other writer of them would wait for ever.
No transaction of ours is idle for a second; a statement may be a recount of everything, or a COPY whose client
froze."""

_UNAVAILABLE = ("08", "53", "57", "58", "25006", "25P03", "55P03")
"""SQLSTATEs of an outage: connection, resources, operator intervention, system error, a server that became a
read-only standby, a transaction ended for its idleness, a lock that was not to be had in time."""

_TRY_AGAIN = ("40001", "40P01")
"""Serialization failure and deadlock: the transaction did nothing, and may well succeed when run again."""

_MISSING_TABLES = ("42P01", "42703")
"""Undefined table or column."""

_ATTEMPTS = 5
"""Runs of one transaction at most. The doors' lock order leaves no deadlock of their own; this covers others'."""


class _TryAgainError(TransientError):
    """The sign that the transaction was the victim of a conflict and may be run again."""


@dataclass(frozen=True, slots=True)
class Database:
    """An open pool of connections. Make one with `open_database`."""

    pool: AsyncConnectionPool[Connection]

    @asynccontextmanager
    async def transaction(self, *, snapshot: bool = False) -> AsyncIterator[Connection]:
        """A connection inside a transaction that commits when the block ends well.

        READ COMMITTED; with `snapshot` REPEATABLE READ and READ ONLY, so that all statements see one state.

        Raises:
            TransientError: `database_unavailable`.
            PermanentError: `not_migrated`.
            FacePassError: `internal`, with SQLSTATE and primary message alone.
        """
        try:
            async with self.pool.connection() as connection:
                with db_connections_active.track_inprogress():
                    await connection.set_isolation_level(
                        IsolationLevel.REPEATABLE_READ if snapshot else IsolationLevel.READ_COMMITTED
                    )
                    await connection.set_read_only(snapshot)
                    async with connection.transaction():
                        yield connection
        except psycopg.Error as exc:
            raise translate(exc) from None

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of `work`, run in a transaction of its own; again after a deadlock.

        Raises: as `transaction`.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except _TryAgainError:
                if attempt == _ATTEMPTS:
                    raise
                await sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - spreads retries, no secret
        raise AssertionError("unreachable")


@asynccontextmanager
async def open_database(settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A pool of connections, open for the time of the block.

    A connection is checked before it is handed out, so a restart of PostgreSQL costs a connection, not an error.

    Raises:
        TransientError: `database_unavailable`: no connection within 10 s.
    """
    pool = AsyncConnectionPool(
        settings.database.get_secret_value(),
        connection_class=AsyncConnection[TupleRow],
        kwargs={"connect_timeout": _CONNECT_SECONDS, "application_name": "facepass", **_KEEPALIVE},
        min_size=1,
        max_size=settings.database_pool_size,
        timeout=_POOL_WAIT_SECONDS,
        reconnect_timeout=_RECONNECT_SECONDS,
        open=False,
        # Called by the pool: `check` before a connection is handed out, `configure` on each new one.
        check=_check,
        configure=_set_up,
        name="facepass",
    )
    try:
        try:
            await pool.open(wait=True, timeout=_POOL_WAIT_SECONDS)
        except psycopg.Error as exc:
            raise await _why_unreachable(settings) or translate(exc) from None
        yield Database(pool)
    finally:
        await pool.close()


async def _why_unreachable(settings: DatabaseSettings) -> FacePassError | None:
    """The error of one more attempt to connect: the pool only knows that it took too long."""
    try:
        connection = await AsyncConnection.connect(
            settings.database.get_secret_value(), connect_timeout=_CONNECT_SECONDS
        )
    except psycopg.Error as exc:
        return translate(exc)
    await connection.close()
    return None


async def _check(connection: Connection) -> None:
    """Raise when the connection is of no use any more."""
    async with timeout(_CHECK_SECONDS):
        await AsyncConnectionPool.check_connection(connection)


async def _set_up(connection: Connection) -> None:
    """Let times come back in UTC: Python cannot hold the first and last hours of its range in other zones.

    Every statement is planned for its parameters. A plan kept from the first photos of an empty database reads
    whole tables where a thousand photos come at once: seen, 730 registrations a second in place of 6,000.
    """
    await connection.execute("SET TIME ZONE 'UTC'")
    await connection.execute("SET plan_cache_mode = 'force_custom_plan'")
    await connection.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'")
    await connection.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
    await connection.commit()


def translate(error: psycopg.Error) -> FacePassError:
    """The error to raise, `from None`, in place of the driver's. Holds nothing of the row at fault."""
    state = error.sqlstate
    if state is None:
        return _without_state(error)
    message = f"PostgreSQL: {error.diag.message_primary} (SQLSTATE {state})"
    if state in _TRY_AGAIN:
        return _TryAgainError(ErrorCode.DATABASE_UNAVAILABLE, message, sqlstate=state)
    if state.startswith(_UNAVAILABLE):
        return TransientError(ErrorCode.DATABASE_UNAVAILABLE, message, sqlstate=state)
    if state in _MISSING_TABLES:
        return PermanentError(
            ErrorCode.NOT_MIGRATED, f"{message}; run `facepass migrate` with this version", sqlstate=state
        )
    return FacePassError(ErrorCode.INTERNAL, message, sqlstate=state)


def _without_state(error: psycopg.Error) -> FacePassError:
    """An error of the client's side: no connection, or a defect. Its text is only sure to hold no row if it is
    about the connection."""
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return TransientError(ErrorCode.DATABASE_UNAVAILABLE, f"PostgreSQL: {lines[0]}")
    return FacePassError(ErrorCode.INTERNAL, f"PostgreSQL: {type(error).__name__} in the driver")
