"""The ledger and the rows, session by session."""

from collections.abc import AsyncIterator
from functools import partial

from facepass.cli.verifying.comparison import Comparison, twice
from facepass.storage.reads import Difference, compare_tables, count_sessions, find_strays, list_sessions

_PAGE = 50
"""Sessions read in one snapshot: a long one would keep PostgreSQL from clearing up behind the writers."""


async def compare_ledger(comparison: Comparison) -> AsyncIterator[Difference]:
    """Recount every session; raises `database_unavailable`."""
    store = comparison.store
    if comparison.session is not None:
        for difference in await twice(partial(compare_tables, store, [comparison.session])):
            yield difference
        return
    total, done, after = await count_sessions(store.database), 0, ""
    while page := await list_sessions(store.database, after, _PAGE):
        for difference in await twice(partial(compare_tables, store, page)):
            yield difference
        after, done = page[-1], done + len(page)
        comparison.progress.tell("sessions recounted", done, max(total, done))
    for difference in await twice(partial(find_strays, store)):
        yield difference
