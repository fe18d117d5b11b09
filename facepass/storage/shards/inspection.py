"""Looking at the shards of a serving process from outside: what they hold, whether it can be right, a fresh start.

For the poll, which compares counts, and for the control port, which compares contents.
"""

import asyncio
from collections.abc import Mapping

from facepass.schemas import metrics
from facepass.schemas.http.control_bodies import HeldShard, ShardContents
from facepass.schemas.ids import SessionId
from facepass.schemas.ledger import SessionCounts
from facepass.schemas.logs import get_logger
from facepass.storage.shards.digest import shard_contents
from facepass.storage.shards.shard_cache import CachedShard, ShardCache

_log = get_logger(__name__)

_REMEMBERED = 1000
"""Sessions whose shards were miscounted, so that each is dropped once a revision. There should be none."""


class ShardInspection:
    """A look at the shards; belongs to the event loop, like the sessions that it looks at."""

    def __init__(self, sessions: ShardCache) -> None:
        self._cache = sessions
        self._miscounted: dict[SessionId, int] = {}
        self._digesting = asyncio.Lock()

    def held(self) -> list[HeldShard]:
        """Every shard in memory; while a delta is being applied, the counts may be between two revisions."""
        return [
            HeldShard(
                session_id=cached.session_id,
                revision=cached.shard.revision,
                faces=cached.shard.faces,
                photos=cached.shard.photos,
            )
            for cached in self._cache
            if cached.shard is not None
        ]

    async def contents(self, session_id: SessionId) -> ShardContents | None:
        """The contents of the session's shard, hashed in a thread, one shard at a time; searches go on meanwhile.

        None if no shard is held, or if it kept changing.
        """
        async with self._digesting:
            cached = self._cache.get(session_id)
            if cached is None or cached.shard is None:
                return None
            return await asyncio.to_thread(shard_contents, session_id, cached.shard)

    def drop(self, session_id: SessionId) -> bool:
        """Forget the session's shard, so that it is loaded anew; False if none is held."""
        cached = self._cache.get(session_id)
        if cached is None or cached.shard is None:
            return False
        self._cache.drop(cached)
        return True

    def drop_miscounted(self, found: Mapping[SessionId, SessionCounts]) -> None:
        """Drop every shard that holds other numbers of faces and photos than the ledger says of its revision.

        A shard that is no better after it was loaded anew is kept: then the ledger is wrong, and dropping it again
        and again would only be slow. `facepass verify` names what is.

        Args:
            found: rows of the ledger that a poll read.
        """
        for session_id, counts in found.items():
            cached = self._cache.get(session_id)
            if cached is None or not _miscounted(cached, counts):
                continue
            if self._miscounted.get(session_id) != counts.revision:
                self._report(cached, counts)
                self._cache.drop(cached)

    def _report(self, cached: CachedShard, counts: SessionCounts) -> None:
        assert cached.shard is not None  # noqa: S101 - only such a one is miscounted
        if len(self._miscounted) >= _REMEMBERED:
            self._miscounted.clear()
        self._miscounted[cached.session_id] = counts.revision
        metrics.shard_mismatches_total.inc()
        _log.error(
            "shard_miscounted",
            session_id=cached.session_id,
            revision=counts.revision,
            faces=cached.shard.faces,
            faces_expected=counts.face_count,
            photos=cached.shard.photos,
            photos_expected=counts.photo_count,
        )


def _miscounted(cached: CachedShard, counts: SessionCounts) -> bool:
    """True if a shard at rest is at the ledger's revision with other counts."""
    shard = cached.shard
    if shard is None or (cached.work is not None and not cached.work.done()):
        return False
    return shard.revision == counts.revision and (
        (shard.faces, shard.photos) != (counts.face_count, counts.photo_count)
    )
