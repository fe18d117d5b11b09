"""The way from an event to an answer: one photo on an idle system, beside nothing but its analysis."""

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from bench.client import SearchClient
from bench.photo_sets import make_selfie
from bench.row import Row, at_most
from bench.site import Site
from bench.sizes import Sizes
from bench.timing import percentiles, timed
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.ids import PhotoId, SessionId
from facepass.storage import open_database, open_store
from facepass.streams.kafka import Publisher, open_publisher

_SESSION = SessionId("fresh")

_WARM_UPS = 5

_PAUSE_SECONDS = (0.1, 1.1)
"""Between two photos, at random: so that they fall on every moment of what the processes do once a second."""

_WAIT_MS = 10_000

_ANALYSIS_SECONDS = 0.3
"""After these a search has long had its selfie analysed, and only waits."""

_PLUS_MS = {"p50": 60.0, "p99": 300.0}
"""What everything but the analysis may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Photo:
    """A photo with faces, as the photo store and this process have it."""

    s3_key: str
    data: bytes
    faces: int


def searchable_rows(site: Site, sizes: Sizes) -> Iterator[Row]:
    """Publish photos one by one into one session, each for a search that waits for it already.

    Sent after the event, the search would have its selfie analysed beside the photo, on a system that is idle no
    more: on two cores that made the photo's own analysis 20 to 35 ms longer.
    """
    photo = _photo_with_faces(site)
    # Threshold 0: every photo with a face counts, whoever is on it.
    client = SearchClient(site.port, make_selfie(), _SESSION, threshold="0", wait_ms=str(_WAIT_MS))
    with closing(client):
        ours, bare = asyncio.run(_in_turns(site, photo, client, sizes.searchable_photos))
    note = (
        f"bare: the same photo ({len(photo.data) / 1e6:.1f} MB, {photo.faces} faces) decoded, detected and"
        f" embedded by the same engine ({site.engine.runtime}, one thread) in one process; ours from before the"
        f" event is published on {site.kafka.label} to the answer of a search that waits for the photo already"
        f" (min_revision) and has it; {len(ours)} photos, the system idle in between"
    )
    mine, theirs = percentiles(ours), percentiles(bare)
    for name, plus in _PLUS_MS.items():
        yield Row(
            name=f"event to searchable, one photo on an idle system, {name}",
            ours=1e3 * getattr(mine, name),
            bare=1e3 * getattr(theirs, name),
            unit="ms",
            goal=at_most(1, plus=plus, unit="ms"),
            note=note,
        )


def _photo_with_faces(site: Site) -> _Photo:
    for name in site.photos.names:
        data = (site.photos.directory / name).read_bytes()
        if faces := len(site.engine.analyse_photo(data).faces):
            return _Photo(s3_key=name, data=data, faces=faces)
    raise PermanentError(
        ErrorCode.INVALID_SETTING, "--photos: no face was found on any of the photos", setting="--photos"
    )


async def _in_turns(
    site: Site, photo: _Photo, client: SearchClient, photos: int
) -> tuple[list[float], list[float]]:
    """Seconds of ours and of bare."""
    pauses = random.Random(0)  # noqa: S311 - no secret
    ours, bare = [], []
    async with open_database(site.stack.database) as db, open_publisher(site.stack.kafka) as publisher:
        store = await open_store(db, site.engine.spec)
        for number in range(_WARM_UPS):
            await publisher.publish(_event(photo, number))
        counts = await site.settled(store, _SESSION, _WARM_UPS)
        await asyncio.to_thread(client.search)
        revision = counts.revision
        for number in range(_WARM_UPS, _WARM_UPS + photos):
            await asyncio.sleep(pauses.uniform(*_PAUSE_SECONDS))
            seconds, revision = await _publish_and_find(publisher, client, _event(photo, number), revision + 1)
            ours.append(seconds)
            bare.append(timed(lambda: site.engine.analyse_photo(photo.data)))
    return ours, bare


async def _publish_and_find(
    publisher: Publisher, client: SearchClient, event: PhotoIndexed, revision: int
) -> tuple[float, int]:
    """Seconds until an answer had the photo, and the session's revision then."""
    search = asyncio.create_task(asyncio.to_thread(client.search, min_revision=str(revision)))
    await asyncio.sleep(_ANALYSIS_SECONDS)
    began = perf_counter()
    await publisher.publish(event)
    found = await search
    seconds = perf_counter() - began
    answer = json.loads(found)
    if event.photo_id not in {match["photo_id"] for match in answer["matches"]}:
        raise PermanentError(
            ErrorCode.INTERNAL, f"a photo was not found within {_WAIT_MS / 1000:.0f} s: see the logs"
        )
    return seconds, int(answer["freshness"]["revision"])


def _event(photo: _Photo, number: int) -> PhotoIndexed:
    return PhotoIndexed(
        session_id=_SESSION,
        photo_id=PhotoId(f"{number:06d}"),
        s3_key=photo.s3_key,
        occurred_at=datetime.now(UTC),
    )
