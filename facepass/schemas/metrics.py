"""Every metric of FacePass. Nothing else defines one; a test holds docs/metrics.md to this file."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# HTTP -----------------------------------------------------------------------------------------------------

http_requests_total = Counter(
    "http_requests", "HTTP requests by route, method and status", ["route", "method", "status"]
)
http_request_duration_seconds = Histogram(
    "http_request_duration_seconds", "Time to answer an HTTP request", ["route", "method"], buckets=_SECONDS
)

# callers --------------------------------------------------------------------------------------------------

refusals_total = Counter(
    "refusals",
    "Refused keys and tokens, by reason: missing_key, unknown_key, revoked_key, expired_key, scope, missing_token,"
    " invalid_token, other_token, expired_token",
    ["reason"],
)
rate_limited_total = Counter("rate_limited", "Requests over a limit, by limit: index or search", ["limit"])
limit_storage_failures_total = Counter(
    "limit_storage_failures", "Times Redis did not answer, so that limits were counted in memory for a while"
)

# searches -------------------------------------------------------------------------------------------------

search_requests_total = Counter("search_requests", "Searches by outcome: ok or an error code", ["outcome"])
search_duration_seconds = Histogram("search_duration_seconds", "Time of a whole search", buckets=_SECONDS)
search_stage_duration_seconds = Histogram(
    "search_stage_duration_seconds",
    "Time of one stage of a search: embed, shard, rank",
    ["stage"],
    buckets=_SECONDS,
)

# calls that index and delete -------------------------------------------------------------------------------

index_calls_total = Counter(
    "index_calls",
    "HTTP calls that index or delete, by operation (photo, batch, delete_session, delete_photo) and outcome: ok,"
    " pending, client_closed or an error code",
    ["operation", "outcome"],
)
index_call_duration_seconds = Histogram(
    "index_call_duration_seconds",
    "Time of a whole call that indexes or deletes, its wait included",
    ["operation"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
index_calls_waiting = Gauge("index_calls_waiting", "HTTP calls that wait for the outcome of photos or a deletion")
index_outcomes_total = Counter(
    "index_outcomes", "Outcomes that waiting calls got, by source: update or ledger", ["source"]
)
idempotent_replays_total = Counter(
    "idempotent_replays", "Calls answered with the first answer to their Idempotency-Key"
)
uploads_total = Counter("uploads", "Photos that came by HTTP and were put into the photo store")
uploads_removed_total = Counter("uploads_removed", "Photos that came by HTTP, removed from the photo store again")

# ingest ---------------------------------------------------------------------------------------------------

index_requests_total = Counter(
    "index_requests", "Photo events settled, by outcome: a photo state, duplicate or fenced", ["outcome"]
)
index_duration_seconds = Histogram(
    "index_duration_seconds", "Time from taking a photo event to its committed row", buckets=_SECONDS
)
embeddings_total = Counter("embeddings", "Face embeddings written to PostgreSQL by this process")
faces_left_out_total = Counter("faces_left_out", "Faces that the quality gate left out, by reason", ["reason"])
ingest_batch_photos = Histogram(
    "ingest_batch_photos", "Photo events in one ingest batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
photos_swept_total = Counter("photos_swept", "Overdue photos that the sweep took up again")
decoders_lost_total = Counter(
    "decoders_lost", "Decoder processes that died or were killed over a picture; a new one takes its place"
)
photo_failures_total = Counter("photo_failures", "Failures while indexing a photo, by error code", ["code"])

# streams --------------------------------------------------------------------------------------------------

events_total = Counter(
    "events",
    "Events consumed, by topic and outcome: applied, duplicate, fenced or an error code",
    ["topic", "outcome"],
)
dead_letters_total = Counter("dead_letters", "Events put on facepass-dead-letters, by error code", ["code"])
dead_letters_open = Gauge(
    "dead_letters_open", "Dead letters neither replayed nor discarded; every intake shows the same number"
)
dead_letters_oldest_age_seconds = Gauge(
    "dead_letters_oldest_age_seconds", "Age of the oldest open dead letter; 0 when there is none"
)
retention_gaps_total = Counter(
    "retention_gaps", "Times a topic no longer held what was to be read next, by topic", ["topic"]
)
retention_gap_records_total = Counter(
    "retention_gap_records", "Records that a topic had dropped before they were read, by topic", ["topic"]
)
consumer_lag = Gauge("consumer_lag", "Records not yet consumed, by topic and partition", ["topic", "partition"])

# storage --------------------------------------------------------------------------------------------------

db_connections_active = Gauge("db_connections_active", "PostgreSQL connections in use by this process")
sessions_deleted_total = Counter("sessions_deleted", "Sessions deleted")
photos_deleted_total = Counter("photos_deleted", "Photos deleted, each for itself")

# shards ---------------------------------------------------------------------------------------------------

shards_loaded = Gauge("shards_loaded", "Shards in memory")
shard_bytes = Gauge("shard_bytes", "Memory of all shards, bytes")
shard_loads_total = Counter("shard_loads", "Shards loaded from PostgreSQL")
shard_evictions_total = Counter("shard_evictions", "Shards dropped for the memory budget")
shard_deltas_total = Counter("shard_deltas", "Deltas applied to shards")
shard_mismatches_total = Counter(
    "shard_mismatches", "Shards dropped because their counts were not those of the ledger at the same revision"
)
shard_load_duration_seconds = Histogram("shard_load_duration_seconds", "Time to load a shard", buckets=_SECONDS)
poll_age_seconds = Gauge("poll_age_seconds", "Time since the last complete poll of the database")
polls_total = Counter("polls", "Polls of the database by outcome: complete or failed", ["outcome"])
