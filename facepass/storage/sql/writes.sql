-- name: add_sessions
-- Sessions never seen before, in the order in which all transactions take them.
INSERT INTO sessions (session_id)
SELECT session_id FROM unnest(%(sessions)s::text[]) AS s (session_id)
ORDER BY session_id COLLATE "C"
ON CONFLICT DO NOTHING

-- name: lock_sessions
-- The first lock of every writing transaction; what it read before this would be out of date.
SELECT session_id FROM sessions
WHERE session_id = ANY(%(sessions)s)
ORDER BY session_id
FOR NO KEY UPDATE

-- name: read_rows
-- What the ledger says of some photos, in the order asked, with the fence that covers each, the time, and the
-- photo's key if it is an object that FacePass itself stored.
SELECT
    r.state, r.occurred_at, coalesce(r.revision, 0), coalesce(r.faces_stored, 0), coalesce(r.faces_detected, 0),
    r.confidence, r.error, coalesce(r.attempts, 0), r.first_failed_at,
    greatest(p.deleted_at, s.deleted_at), g.revision, clock_timestamp(),
    CASE WHEN starts_with(p.s3_key, %(uploads)s) THEN p.s3_key END
FROM unnest(%(sessions)s::text[], %(photos)s::text[]) WITH ORDINALITY AS e (session_id, photo_id, place)
LEFT JOIN sessions AS s ON s.session_id = e.session_id
LEFT JOIN session_generations AS g ON g.session_id = e.session_id AND g.generation = %(generation)s
LEFT JOIN photos AS p ON p.session_id = e.session_id AND p.photo_id = e.photo_id
LEFT JOIN photo_results AS r
    ON r.session_id = e.session_id AND r.photo_id = e.photo_id AND r.generation = %(generation)s
ORDER BY e.place

-- name: write_photos
-- What the newest events said of some photos; an older one (for another generation) changes nothing.
INSERT INTO photos AS p (session_id, photo_id, s3_key, occurred_at)
SELECT * FROM unnest(%(sessions)s::text[], %(photos)s::text[], %(s3_keys)s::text[], %(times)s::timestamptz[])
ON CONFLICT (session_id, photo_id) DO UPDATE SET s3_key = excluded.s3_key, occurred_at = excluded.occurred_at
WHERE p.occurred_at IS NULL OR p.occurred_at <= excluded.occurred_at

-- name: release_uploads
-- Objects that their photos no longer rest on, because a newer event named another key.
UPDATE uploads AS u SET removing = true, due_at = clock_timestamp()
FROM photos AS p
WHERE u.s3_key = ANY(%(keys)s) AND p.session_id = u.session_id AND p.photo_id = u.photo_id
    AND p.s3_key IS DISTINCT FROM u.s3_key

-- name: write_pending
-- Photos that wait for a newer event: the stamp, and what is stored of an older event, stay as they are.
INSERT INTO photo_results AS r (
    generation, session_id, photo_id, occurred_at, origin_topic, origin_partition, origin_offset, state,
    next_attempt_at
)
SELECT
    %(generation)s, e.*, 'pending', clock_timestamp() + make_interval(secs => %(seconds)s)
FROM unnest(
    %(sessions)s::text[], %(photos)s::text[], %(times)s::timestamptz[],
    %(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[]
) AS e
ON CONFLICT (session_id, photo_id, generation) DO UPDATE SET
    occurred_at = excluded.occurred_at,
    origin_topic = excluded.origin_topic,
    origin_partition = excluded.origin_partition,
    origin_offset = excluded.origin_offset,
    state = excluded.state,
    next_attempt_at = excluded.next_attempt_at,
    error = NULL,
    attempts = 0,
    first_failed_at = NULL

-- name: write_results
-- What a generation made of some photos. Where the stamp stays, because a photo is pending still, etag and left-out
-- faces stay those of the event that its stored faces came from.
INSERT INTO photo_results AS r (
    generation, session_id, photo_id, occurred_at, origin_topic, origin_partition, origin_offset, state, revision,
    faces_stored, faces_detected, confidence, error, attempts, first_failed_at, next_attempt_at, etag, left_out
)
SELECT %(generation)s, e.*
FROM unnest(
    %(sessions)s::text[], %(photos)s::text[], %(times)s::timestamptz[],
    %(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[],
    %(states)s::text[], %(revisions)s::bigint[], %(stored)s::integer[], %(detected)s::integer[],
    %(confidences)s::float8[], %(errors)s::text[], %(attempts)s::integer[], %(first_failures)s::timestamptz[],
    %(next_attempts)s::timestamptz[], %(etags)s::text[], %(left_out)s::jsonb[]
) AS e
ON CONFLICT (session_id, photo_id, generation) DO UPDATE SET
    occurred_at = excluded.occurred_at,
    origin_topic = excluded.origin_topic,
    origin_partition = excluded.origin_partition,
    origin_offset = excluded.origin_offset,
    state = excluded.state,
    revision = excluded.revision,
    faces_stored = excluded.faces_stored,
    faces_detected = excluded.faces_detected,
    confidence = excluded.confidence,
    error = excluded.error,
    attempts = excluded.attempts,
    first_failed_at = excluded.first_failed_at,
    next_attempt_at = excluded.next_attempt_at,
    etag = CASE WHEN excluded.revision > r.revision THEN excluded.etag ELSE r.etag END,
    left_out = CASE WHEN excluded.revision > r.revision THEN excluded.left_out ELSE r.left_out END

-- name: remove_faces
-- The faces of photos that are about to get others, or none.
DELETE FROM face_embeddings AS f
USING unnest(%(sessions)s::text[], %(photos)s::text[]) AS e (session_id, photo_id)
WHERE f.generation = %(generation)s AND f.session_id = e.session_id AND f.photo_id = e.photo_id

-- name: copy_faces
-- New faces; the order of columns is that of the encoder.
COPY face_embeddings (
    generation, session_id, photo_id, face_index, embedding, box_x, box_y, box_width, box_height, confidence,
    quality_size, quality_sharpness, quality_yaw, quality_pitch, quality_roll, landmarks, occurred_at, revision
) FROM STDIN (FORMAT BINARY)

-- name: add_ledgers
-- Empty rows of the ledger, for sessions that have none in this generation.
INSERT INTO session_generations (generation, session_id)
SELECT %(generation)s, session_id FROM unnest(%(sessions)s::text[]) AS s (session_id)
ON CONFLICT DO NOTHING

-- name: write_ledgers
-- Sessions' revisions, and by how much each of their counters moved.
UPDATE session_generations AS g SET
    revision = c.revision,
    pending = g.pending + c.pending,
    indexed = g.indexed + c.indexed,
    no_face = g.no_face + c.no_face,
    filtered = g.filtered + c.filtered,
    failed = g.failed + c.failed,
    deleted = g.deleted + c.deleted,
    photo_count = g.photo_count + c.photos,
    face_count = g.face_count + c.faces,
    last_indexed = coalesce(c.last_indexed, g.last_indexed)
FROM unnest(
    %(sessions)s::text[], %(revisions)s::bigint[], %(pending)s::integer[], %(indexed)s::integer[],
    %(no_face)s::integer[], %(filtered)s::integer[], %(failed)s::integer[], %(deleted)s::integer[],
    %(photos)s::integer[], %(faces)s::integer[], %(last_indexed)s::timestamptz[]
) AS c (
    session_id, revision, pending, indexed, no_face, filtered, failed, deleted, photos, faces, last_indexed
)
WHERE g.generation = %(generation)s AND g.session_id = c.session_id

-- name: read_fence
-- A session's fence, and a photo's.
SELECT s.deleted_at, p.deleted_at
FROM sessions AS s LEFT JOIN photos AS p ON p.session_id = s.session_id AND p.photo_id = %(photo)s
WHERE s.session_id = %(session)s

-- name: fence_session
-- Raise a session's fence; erase what was announced up to it.
UPDATE sessions SET
    deleted_at = %(time)s,
    name = CASE WHEN updated_at > %(time)s THEN name END,
    studio_id = CASE WHEN updated_at > %(time)s THEN studio_id END,
    facepass_enabled = CASE WHEN updated_at > %(time)s THEN facepass_enabled END
WHERE session_id = %(session)s

-- name: fence_photos_of_session
-- The photos that a session's deletion covers become fence rows; newer ones stay.
UPDATE photos SET s3_key = NULL, deleted_at = greatest(deleted_at, %(time)s)
WHERE session_id = %(session)s AND occurred_at <= %(time)s

-- name: fence_photo
-- Raise a photo's fence, also for one never seen; erase the key of what it covers.
INSERT INTO photos AS p (session_id, photo_id, deleted_at)
VALUES (%(session)s, %(photo)s, %(time)s)
ON CONFLICT (session_id, photo_id) DO UPDATE SET
    deleted_at = excluded.deleted_at,
    s3_key = CASE WHEN p.occurred_at > excluded.deleted_at THEN p.s3_key END

-- name: add_deleted
-- A photo of which only the deletion was seen: the ledger counts it.
WITH added AS (
    INSERT INTO photo_results (generation, session_id, photo_id, state, revision)
    SELECT generation, session_id, %(photo)s, 'deleted', revision + 1
    FROM session_generations WHERE session_id = %(session)s AND generation = %(generation)s
    ON CONFLICT DO NOTHING
    RETURNING generation, session_id
)
UPDATE session_generations AS g SET deleted = g.deleted + 1
FROM added WHERE g.generation = added.generation AND g.session_id = added.session_id

-- name: release_covered_uploads
-- Objects of photos that a deletion covers: by their events' own time, whether those were ever registered or not.
UPDATE uploads SET removing = true, due_at = clock_timestamp()
WHERE session_id = %(session)s {of_photo} AND occurred_at <= %(time)s

-- name: note_receipt
-- What a deletion removed, for whoever waits for it.
INSERT INTO deletion_receipts (session_id, photo_id, fence, photos_removed, faces_removed)
VALUES (%(session)s, coalesce(%(photo)s, ''), %(time)s, %(photos)s, %(faces)s)
ON CONFLICT DO NOTHING

-- name: remove_covered
-- Removes, in every generation, what a deletion covers: faces by their own time, so that the old faces of a photo
-- go that waits for a newer event; results by the event that they rest on. Raises the revision of every generation
-- and stamps the photos, so that a shard drops their entries. Answers what it did, by generation.
WITH removed AS (
    DELETE FROM face_embeddings
    WHERE session_id = %(session)s {of_photo} AND occurred_at <= %(time)s
    RETURNING generation, photo_id
), faces AS (
    SELECT generation, photo_id, count(*)::integer AS faces FROM removed GROUP BY generation, photo_id
), hit AS (
    SELECT r.generation, r.photo_id, r.state, coalesce(f.faces, 0) AS faces, r.occurred_at <= %(time)s AS covered
    FROM photo_results AS r LEFT JOIN faces AS f USING (generation, photo_id)
    WHERE r.session_id = %(session)s {of_photo} AND r.state <> 'deleted'
        AND (r.occurred_at <= %(time)s OR f.faces > 0)
), counted AS (
    SELECT
        generation,
        count(*) FILTER (WHERE covered)::integer AS photos,
        count(*) FILTER (WHERE covered AND state = 'pending')::integer AS pending,
        count(*) FILTER (WHERE covered AND state = 'indexed')::integer AS indexed,
        count(*) FILTER (WHERE covered AND state = 'no_face')::integer AS no_face,
        count(*) FILTER (WHERE covered AND state = 'filtered')::integer AS filtered,
        count(*) FILTER (WHERE covered AND state = 'failed')::integer AS failed,
        count(*) FILTER (WHERE faces > 0)::integer AS with_faces,
        sum(faces)::integer AS faces
    FROM hit GROUP BY generation
), marked AS (
    UPDATE photo_results AS r SET
        state = CASE WHEN hit.covered THEN 'deleted' ELSE r.state END,
        revision = g.revision + 1,
        faces_stored = 0,
        faces_detected = 0,
        confidence = NULL,
        etag = NULL,
        left_out = NULL,
        error = CASE WHEN hit.covered THEN NULL ELSE r.error END,
        attempts = CASE WHEN hit.covered THEN 0 ELSE r.attempts END,
        first_failed_at = CASE WHEN hit.covered THEN NULL ELSE r.first_failed_at END,
        next_attempt_at = CASE WHEN hit.covered THEN NULL ELSE r.next_attempt_at END,
        origin_topic = CASE WHEN hit.covered THEN NULL ELSE r.origin_topic END,
        origin_partition = CASE WHEN hit.covered THEN NULL ELSE r.origin_partition END,
        origin_offset = CASE WHEN hit.covered THEN NULL ELSE r.origin_offset END
    FROM hit JOIN session_generations AS g ON g.generation = hit.generation AND g.session_id = %(session)s
    WHERE r.generation = hit.generation AND r.session_id = %(session)s AND r.photo_id = hit.photo_id
)
UPDATE session_generations AS g SET
    revision = g.revision + 1,
    pending = g.pending - coalesce(c.pending, 0),
    indexed = g.indexed - coalesce(c.indexed, 0),
    no_face = g.no_face - coalesce(c.no_face, 0),
    filtered = g.filtered - coalesce(c.filtered, 0),
    failed = g.failed - coalesce(c.failed, 0),
    deleted = g.deleted + coalesce(c.photos, 0),
    photo_count = g.photo_count - coalesce(c.with_faces, 0),
    face_count = g.face_count - coalesce(c.faces, 0)
FROM session_generations AS same LEFT JOIN counted AS c USING (generation)
WHERE g.session_id = %(session)s AND same.session_id = g.session_id AND same.generation = g.generation
RETURNING g.generation, coalesce(c.faces, 0), coalesce(c.photos, 0)

-- name: revision
-- A session's revision in one generation.
SELECT revision FROM session_generations WHERE generation = %(generation)s AND session_id = %(session)s

-- name: read_announcement
-- When a session was last announced and deleted.
SELECT updated_at, deleted_at FROM sessions WHERE session_id = %(session)s

-- name: announce
-- What session-updated said of a session.
UPDATE sessions SET
    name = %(name)s, studio_id = %(studio)s, facepass_enabled = %(enabled)s, updated_at = %(time)s
WHERE session_id = %(session)s

-- name: claim_overdue
-- Those pending photos that are longest overdue, in no order; none that another process is claiming or writing.
-- Takes no lock of the session: it never waits for a row, and no reader of revisions or counters sees what it moves.
WITH due AS (
    SELECT session_id, photo_id FROM photo_results
    WHERE generation = %(generation)s AND state = 'pending' AND next_attempt_at <= clock_timestamp()
    ORDER BY next_attempt_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE photo_results AS r SET next_attempt_at = clock_timestamp() + make_interval(secs => %(seconds)s)
    FROM due
    WHERE r.generation = %(generation)s AND r.session_id = due.session_id AND r.photo_id = due.photo_id
    RETURNING r.session_id, r.photo_id, r.occurred_at, r.origin_topic, r.origin_partition, r.origin_offset
)
SELECT c.session_id, c.photo_id, p.s3_key, c.occurred_at, c.origin_topic, c.origin_partition, c.origin_offset
FROM claimed AS c JOIN photos AS p USING (session_id, photo_id)
JOIN sessions AS s USING (session_id)
WHERE p.s3_key IS NOT NULL AND p.occurred_at = c.occurred_at
    AND (c.occurred_at > greatest(p.deleted_at, s.deleted_at)) IS NOT FALSE

-- name: sessions_with_failures
-- Some sessions with failed photos after one of them, in the order of their ids.
SELECT session_id FROM session_generations
WHERE generation = %(generation)s AND failed > 0 AND session_id > %(after)s
ORDER BY session_id
LIMIT %(limit)s

-- name: owed_dead_letters
-- Failed photos of some sessions whose dead letter was not yet noted as written.
SELECT
    r.session_id, r.photo_id, p.s3_key, r.occurred_at, r.origin_topic, r.origin_partition, r.origin_offset, r.error
FROM photo_results AS r JOIN photos AS p USING (session_id, photo_id)
WHERE r.generation = %(generation)s AND r.session_id = ANY(%(sessions)s)
    AND r.state = 'failed' AND r.first_failed_at IS NOT NULL AND p.occurred_at = r.occurred_at

-- name: note_dead_letters
-- The dead letters of some photos are written, unless the photos have moved on since.
UPDATE photo_results AS r SET first_failed_at = NULL
FROM unnest(%(sessions)s::text[], %(photos)s::text[], %(times)s::timestamptz[]) AS e (session_id, photo_id, at)
WHERE r.generation = %(generation)s AND r.session_id = e.session_id AND r.photo_id = e.photo_id
    AND r.state = 'failed' AND r.occurred_at = e.at AND r.first_failed_at IS NOT NULL

-- name: forget_receipts
-- Receipts that nobody waits for any more.
DELETE FROM deletion_receipts WHERE applied_at < clock_timestamp() - make_interval(secs => %(kept_seconds)s)
