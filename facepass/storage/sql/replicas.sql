-- name: register
-- A serving process makes itself known before it loads anything; every acknowledgement of a deletion waits for it.
-- A row that is there keeps its time: only a poll may say that something has been applied.
INSERT INTO replicas (replica_id, applied_as_of) VALUES (%(replica)s, clock_timestamp())
ON CONFLICT (replica_id) DO NOTHING

-- name: begin_poll
-- The time of a poll: when its transaction began, so before anything that its other statements see, at any
-- isolation level. The clock's own time could lie after the snapshot.
SELECT transaction_timestamp()

-- name: record
-- All that was committed before a poll's time is applied here. Never lowers the time: a late record may arrive.
UPDATE replicas SET applied_as_of = greatest(applied_as_of, %(as_of)s) WHERE replica_id = %(replica)s

-- name: remove
-- A replica that stops serving.
DELETE FROM replicas WHERE replica_id = %(replica)s

-- name: clock
-- The database's time.
SELECT clock_timestamp()

-- name: all
-- Who must have applied a deletion.
SELECT replica_id FROM replicas

-- name: remove_lapsed
-- Replicas whose lease has run out for good. Looked at and removed at once: one that comes back in between keeps
-- its row.
DELETE FROM replicas
WHERE replica_id = ANY(%(replicas)s) AND applied_as_of < clock_timestamp() - make_interval(secs => %(seconds)s)

-- name: waiting
-- Those who have not applied it yet: no row is no replica.
SELECT replica_id FROM replicas WHERE replica_id = ANY(%(replicas)s) AND applied_as_of <= %(as_of)s
