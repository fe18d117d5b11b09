"""The shards of a running replica against the rows, each at one revision."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from facepass.cli.verifying.comparison import Comparison
from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.http.control_bodies import HeldShards, Reloaded, ShardContents
from facepass.schemas.ids import SessionId
from facepass.storage.reads import Compared, Difference, place, read_contents

_ANSWER_SECONDS = 120.0
"""A digest of the largest sessions takes seconds; on a busy machine more."""

_AGAIN_SECONDS = 0.3

_RELOAD = (
    "`facepass verify --repair` loads the shard anew; PostgreSQL is the truth, so if a vector there was changed by"
    " hand, publish the photo again"
)


@dataclass(slots=True)
class ShardReport:
    """The account of one replica's shards beside the differences.

    Attributes:
        compared: how many.
        unsettled: sessions that changed all the time, so that rows and shard were never seen at one revision.
        mended: sessions whose shard is right since it was reloaded.
    """

    compared: int = 0
    unsettled: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)


class _Replica:
    """One control port. Every call raises `internal` when it does not answer as it should."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self._client = client

    async def held(self) -> HeldShards:
        return HeldShards.model_validate_json(await self._ask("GET", "/shards") or b"")

    async def contents(self, session_id: str) -> ShardContents | None:
        """The contents of a shard; None if it is not held, or keeps changing."""
        answer = await self._ask("GET", "/shards/contents", session_id=session_id)
        return None if answer is None else ShardContents.model_validate_json(answer)

    async def holds(self, session_id: str) -> bool:
        return any(one.session_id == session_id for one in (await self.held()).shards)

    async def reload(self, session_id: str) -> Reloaded:
        answer = await self._ask("POST", "/shards/reload", session_id=session_id)
        return Reloaded.model_validate_json(answer or b"")

    async def _ask(self, method: str, path: str, **parameters: str) -> bytes | None:
        # `search_api.control` answers, in the serving process.
        try:
            response = await self._client.request(method, f"{self.url}{path}", params=parameters)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise TransientError(ErrorCode.INTERNAL, f"no answer: {type(exc).__name__}") from exc
        if response.status_code == httpx.codes.NOT_FOUND and b'"session_not_found"' in response.content:
            return None
        if not response.is_success:
            raise TransientError(ErrorCode.INTERNAL, f"status {response.status_code}")
        return response.content


async def compare_shards(
    comparison: Comparison, url: str, report: ShardReport, *, repair: bool
) -> AsyncIterator[Difference]:
    """Compare every shard that the replica at `url` holds; with `repair` reload those that differ.

    Raises:
        TransientError: `database_unavailable`.
    """
    async with httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS) as client:
        replica = _Replica(url.rstrip("/"), client)
        try:
            async for difference in _compare(comparison, replica, report, repair=repair):
                yield difference
        except (TransientError, ValueError) as exc:
            if isinstance(exc, TransientError) and exc.code is not ErrorCode.INTERNAL:
                raise
            reason = exc.message if isinstance(exc, TransientError) else "another answer"
            remedy = "is `facepass serve` running with this --control-port, in this version?"
            yield _difference(url, "control port", "an answer", reason, remedy)


async def _compare(
    comparison: Comparison, replica: _Replica, report: ShardReport, *, repair: bool
) -> AsyncIterator[Difference]:
    held = await replica.held()
    if held.generation != comparison.store.generation.number:
        numbers = str(comparison.store.generation.number), str(held.generation)
        yield _difference(replica.url, "generation", *numbers, "restart `facepass serve`")
        return
    sessions = [one.session_id for one in held.shards if comparison.session in {None, one.session_id}]
    for number, session_id in enumerate(sessions, 1):
        found = await _compare_shard(comparison, replica, session_id, report)
        for difference in found:
            yield difference
        if found and repair:
            await replica.reload(session_id)
            if not await _compare_shard(comparison, replica, session_id, report):
                report.mended.append(session_id)
        comparison.progress.tell(f"shards of {replica.url}", number, len(sessions))


async def _compare_shard(
    comparison: Comparison, replica: _Replica, session_id: str, report: ShardReport
) -> list[Difference]:
    """Look until shard and rows are at one revision, and again if they differ there."""
    deadline = time.monotonic() + comparison.patience
    suspected: set[str] = set()
    first: ShardContents | None = None
    while True:
        rows = await read_contents(comparison.store, SessionId(session_id))
        first = first or rows
        shard = await replica.contents(session_id)
        if shard is None and not await replica.holds(session_id):
            return []
        if shard is not None and shard.revision == rows.revision:
            found = _differences(replica.url, rows, shard)
            if not found or suspected & {one.what for one in found}:
                report.compared += 1
                return [one for one in found if one.what in suspected]
            suspected = {one.what for one in found}
        elif time.monotonic() >= deadline:
            return await _never_at_one(comparison, replica.url, first, shard, report)
        await asyncio.sleep(_AGAIN_SECONDS)


async def _never_at_one(
    comparison: Comparison, url: str, first: ShardContents, shard: ShardContents | None, report: ShardReport
) -> list[Difference]:
    """The difference of a shard never seen at the rows' revision, if it is stuck; none if only never at rest.

    Args:
        first: the rows as they were when the waiting began.
        shard: as it was seen last; None if it kept changing.
    """
    now = await read_contents(comparison.store, SessionId(first.session_id))
    if shard is not None and not first.revision <= shard.revision <= now.revision:
        report.compared += 1
        expected = f"{first.revision} to {now.revision}"
        where = f"{url}, {place(first.session_id)}"
        return [_difference(where, "revision of the shard", expected, str(shard.revision), _RELOAD)]
    report.unsettled.append(first.session_id)
    return []


def _differences(url: str, rows: ShardContents, shard: ShardContents) -> list[Difference]:
    where = f"{url}, {place(rows.session_id)}"
    values = {
        "faces in the shard": (rows.faces, shard.faces),
        "photos in the shard": (rows.photos, shard.photos),
        "digest of the shard": (rows.digest, shard.digest),
    }
    return [
        _difference(where, what, f"{expected} at revision {rows.revision}", str(found), _RELOAD)
        for what, (expected, found) in values.items()
        if expected != found
    ]


def _difference(where: str, what: str, expected: str, found: str, remedy: str) -> Difference:
    return Difference(
        compared=Compared.SHARDS, where=where, what=what, expected=expected, found=found, remedy=remedy
    )
