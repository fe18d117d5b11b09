"""Leases as whoever deletes sees them: when no serving process can answer any more with what was deleted.

What a serving process itself does about its lease is in `replica`.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime

from psycopg.rows import scalar_row

from facepass.storage.database import Database
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("replicas")

LEASE_MARGIN_SECONDS = 2.0
"""A replica counts as gone this long after its lease: two clocks run apart by less within a lease."""

_WATCH_SECONDS = 0.1
"""Time between two looks at the replicas that have not applied a deletion yet."""


async def wait_until_unserved(db: Database, lease_seconds: float, *, timeout: float) -> bool:  # noqa: ASYNC109
    """True if no replica can return any more what was deleted; waits for that. Call it after the commit.

    Args:
        lease_seconds: the replicas' setting. One that has not been heard of for that long, and
            `LEASE_MARGIN_SECONDS` more, cannot answer any more and is removed.
        timeout: seconds to wait at most.

    Returns: whether all replicas have applied the deletion, or are gone; False when the time was over first.

    Raises:
        TransientError: `database_unavailable`.
    """
    async with db.transaction() as connection:
        cursor = connection.cursor(row_factory=scalar_row)
        as_of: datetime | None = await (await cursor.execute(_STATEMENTS["clock"])).fetchone()
    assert as_of is not None  # noqa: S101 - SELECT of one function
    async with db.transaction() as connection:
        cursor = connection.cursor(row_factory=scalar_row)
        waiting = await (await cursor.execute(_STATEMENTS["all"])).fetchall()
    end = time.monotonic() + timeout
    while waiting and (waiting := await _still_serving(db, waiting, as_of, lease_seconds + LEASE_MARGIN_SECONDS)):
        if time.monotonic() >= end:
            return False
        await asyncio.sleep(_WATCH_SECONDS)
    return True


async def _still_serving(db: Database, replicas: Sequence[str], as_of: datetime, lapse: float) -> list[str]:
    """The ones of `replicas` that may not have applied what was committed by `as_of`."""
    values = {"replicas": list(replicas), "as_of": as_of, "seconds": lapse}
    async with db.transaction() as connection:
        await connection.execute(_STATEMENTS["remove_lapsed"], values)
        cursor = connection.cursor(row_factory=scalar_row)
        return await (await cursor.execute(_STATEMENTS["waiting"], values)).fetchall()
