"""Subjects of the benchmark and how much is done of each: published sizes, and small ones to see that it runs."""

from dataclasses import dataclass
from enum import StrEnum


class Subject(StrEnum):
    """A part of the benchmark that can be measured by itself."""

    INGEST = "ingest"
    SEARCH = "search"
    SHARD = "shard"
    STREAMS = "streams"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The amounts of one run of the benchmark.

    Attributes:
        ingest_photos: photos of one ingest round.
        ingest_rounds: times that ours and bare take turns.
        peer_photos: photos of one round of the peers' loop, which is slow.
        session_photos: of the session that is searched over HTTP.
        searches: searches over HTTP, idle, and as many under load.
        http_searches: searches of one round by several clients at once.
        http_rounds: times that ours and bare take turns.
        phone_searches: searches by a photo from a phone.
        backlog: photos that ingest has before it while it is the load.
        shard_faces: faces of the shards that are searched.
        vector_sizes: floats per face, each with shards of all sizes.
        shard_searches: searches of one shard.
        loads: times that one shard is loaded.
        searchable_photos: photos of which each is looked for as soon as it is announced.
        intake_events: photo events of one intake round.
        intake_rounds: times that ours and bare take turns.
        recoveries: times that `serve` is killed.
        recovery_faces: of the session that is searched first after that.
    """

    ingest_photos: int
    ingest_rounds: int
    peer_photos: int
    session_photos: int
    searches: int
    http_searches: int
    http_rounds: int
    phone_searches: int
    backlog: int
    shard_faces: tuple[int, ...]
    vector_sizes: tuple[int, ...]
    shard_searches: int
    loads: int
    searchable_photos: int
    intake_events: int
    intake_rounds: int
    recoveries: int
    recovery_faces: int


PUBLISHED = Sizes(
    ingest_photos=300,
    ingest_rounds=3,
    peer_photos=60,
    session_photos=1_000,
    searches=400,
    http_searches=400,
    http_rounds=3,
    phone_searches=100,
    backlog=3_000,
    shard_faces=(1_000, 10_000, 100_000),
    vector_sizes=(128, 512),
    shard_searches=300,
    loads=7,
    searchable_photos=150,
    intake_events=30_000,
    intake_rounds=3,
    recoveries=5,
    recovery_faces=10_000,
)

QUICK = Sizes(
    ingest_photos=8,
    ingest_rounds=1,
    peer_photos=2,
    session_photos=1_000,
    searches=10,
    http_searches=10,
    http_rounds=1,
    phone_searches=3,
    backlog=100,
    shard_faces=(1_000,),
    vector_sizes=(128,),
    shard_searches=20,
    loads=2,
    searchable_photos=5,
    intake_events=3_000,
    intake_rounds=1,
    recoveries=1,
    recovery_faces=1_000,
)
