-- name: sessions
-- Some sessions after one of them, in the order of their ids.
SELECT session_id FROM sessions WHERE session_id > %(after)s ORDER BY session_id LIMIT %(limit)s

-- name: totals
-- How much there is to look at.
SELECT count(*) FROM sessions

-- name: counters
-- A session's counters against a count of its rows; its revision against the newest stamp on them.
WITH results AS (
    SELECT
        session_id,
        count(*) FILTER (WHERE state = 'pending') AS pending,
        count(*) FILTER (WHERE state = 'indexed') AS indexed,
        count(*) FILTER (WHERE state = 'no_face') AS no_face,
        count(*) FILTER (WHERE state = 'filtered') AS filtered,
        count(*) FILTER (WHERE state = 'failed') AS failed,
        count(*) FILTER (WHERE state = 'deleted') AS deleted,
        max(revision) AS revision
    FROM photo_results
    WHERE generation = %(generation)s AND session_id = ANY(%(sessions)s)
    GROUP BY session_id
), faces AS (
    SELECT session_id, count(*) AS faces, count(DISTINCT photo_id) AS photos, max(revision) AS revision
    FROM face_embeddings
    WHERE generation = %(generation)s AND session_id = ANY(%(sessions)s)
    GROUP BY session_id
)
SELECT s.session_id, NULL AS photo_id, c.what, c.expected::text, c.found::text
FROM unnest(%(sessions)s::text[]) AS s (session_id)
LEFT JOIN results AS r ON r.session_id = s.session_id
LEFT JOIN faces AS f ON f.session_id = s.session_id
LEFT JOIN session_generations AS g ON g.session_id = s.session_id AND g.generation = %(generation)s
CROSS JOIN LATERAL (VALUES
    ('counter pending', coalesce(r.pending, 0), coalesce(g.pending, 0)),
    ('counter indexed', coalesce(r.indexed, 0), coalesce(g.indexed, 0)),
    ('counter no_face', coalesce(r.no_face, 0), coalesce(g.no_face, 0)),
    ('counter filtered', coalesce(r.filtered, 0), coalesce(g.filtered, 0)),
    ('counter failed', coalesce(r.failed, 0), coalesce(g.failed, 0)),
    ('counter deleted', coalesce(r.deleted, 0), coalesce(g.deleted, 0)),
    ('counter photo_count', coalesce(f.photos, 0), coalesce(g.photo_count, 0)),
    ('counter face_count', coalesce(f.faces, 0), coalesce(g.face_count, 0)),
    (
        'revision, at least the newest stamp',
        coalesce(greatest(g.revision, g.delta_floor, r.revision, f.revision), 0),
        coalesce(g.revision, 0)
    )
) AS c (what, expected, found)
WHERE c.expected <> c.found

-- name: photos
-- What the events said of each photo against what the generation made of it, and against the fences.
SELECT session_id, photo_id, w.what, w.expected, w.found
FROM (SELECT * FROM photos WHERE session_id = ANY(%(sessions)s)) AS p
FULL JOIN (
    SELECT * FROM photo_results WHERE generation = %(generation)s AND session_id = ANY(%(sessions)s)
) AS r USING (session_id, photo_id)
LEFT JOIN sessions AS s USING (session_id)
CROSS JOIN LATERAL (SELECT greatest(p.deleted_at, s.deleted_at) AS fence) AS f
CROSS JOIN LATERAL (VALUES
    ('row in photo_results', 'one', 'none', r.state IS NULL),
    ('row in photos', 'one', 'none', p.photo_id IS NULL),
    (
        'time of the result', p.occurred_at::text, r.occurred_at::text,
        r.state <> 'deleted' AND p.photo_id IS NOT NULL AND r.occurred_at IS DISTINCT FROM p.occurred_at
    ),
    ('S3 key', 'kept', 'erased', r.state <> 'deleted' AND p.photo_id IS NOT NULL AND p.s3_key IS NULL),
    ('S3 key of a deleted photo', 'erased', 'kept', p.s3_key IS NOT NULL AND p.occurred_at <= f.fence),
    ('state behind a fence', 'deleted', r.state, r.state <> 'deleted' AND r.occurred_at <= f.fence),
    (
        'fence of a deleted photo', coalesce('at or after ' || r.occurred_at::text, 'any'),
        coalesce(f.fence::text, 'none'),
        r.state = 'deleted' AND (f.fence IS NULL OR r.occurred_at > f.fence)
    )
) AS w (what, expected, found, wrong)
WHERE w.wrong

-- name: faces
-- The faces of each photo against its result: how many, which numbers, which stamp, and whether there may be any.
SELECT session_id, photo_id, w.what, w.expected, w.found
FROM (
    SELECT * FROM photo_results WHERE generation = %(generation)s AND session_id = ANY(%(sessions)s)
) AS r
FULL JOIN (
    SELECT
        session_id, photo_id, count(*) AS faces, min(face_index) AS first, max(face_index) AS last,
        min(revision) AS oldest, max(revision) AS newest
    FROM face_embeddings
    WHERE generation = %(generation)s AND session_id = ANY(%(sessions)s)
    GROUP BY session_id, photo_id
) AS f USING (session_id, photo_id)
CROSS JOIN LATERAL (VALUES
    ('row in photo_results of stored faces', 'one', 'none', r.state IS NULL),
    ('stored faces', r.faces_stored::text, coalesce(f.faces, 0)::text, r.faces_stored <> coalesce(f.faces, 0)),
    (
        'numbers of the faces', '0 to ' || (f.faces - 1), f.first || ' to ' || f.last,
        f.first <> 0 OR f.last <> f.faces - 1
    ),
    (
        'revision of the faces', r.revision::text, f.oldest || ' to ' || f.newest,
        f.oldest <> r.revision OR f.newest <> r.revision
    ),
    (
        'state', CASE WHEN f.faces > 0 THEN 'indexed or pending' ELSE 'another' END, r.state,
        coalesce(f.faces, 0) > 0 AND r.state NOT IN ('indexed', 'pending')
        OR coalesce(f.faces, 0) = 0 AND r.state = 'indexed'
    )
) AS w (what, expected, found, wrong)
WHERE w.wrong

-- name: fenced_faces
-- Faces of any generation that a deletion covers: there must be none.
SELECT f.session_id, f.photo_id, 'faces behind a fence' AS what, 'none' AS expected, count(*)::text AS found
FROM face_embeddings AS f
JOIN sessions AS s USING (session_id)
LEFT JOIN photos AS p USING (session_id, photo_id)
WHERE f.session_id = ANY(%(sessions)s) AND f.occurred_at <= greatest(p.deleted_at, s.deleted_at)
GROUP BY f.session_id, f.photo_id

-- name: vectors
-- Vectors that are not of the generation's size or not of length 1; one of them with NaN has the norm NaN, which is
-- greater than everything.
SELECT
    session_id, photo_id, 'vector of face ' || face_index AS what,
    %(size)s::text || ' finite floats of L2 norm 1' AS expected,
    vector_dims(embedding) || ' floats of L2 norm ' || norm AS found
FROM (
    SELECT session_id, photo_id, face_index, embedding, l2_norm(embedding) AS norm
    FROM face_embeddings
    WHERE generation = %(generation)s AND session_id = ANY(%(sessions)s)
) AS f
WHERE vector_dims(embedding) <> %(size)s OR abs(norm - 1) > %(tolerance)s

-- name: strays
-- Rows of sessions that are not there.
SELECT
    session_id, NULL AS photo_id, 'row in sessions, for rows in ' || found_in AS what, 'one' AS expected,
    'none' AS found
FROM (
    SELECT DISTINCT session_id, 'photos' AS found_in FROM photos
    UNION SELECT DISTINCT session_id, 'photo_results' FROM photo_results
    UNION SELECT DISTINCT session_id, 'face_embeddings' FROM face_embeddings
) AS r
WHERE NOT EXISTS (SELECT FROM sessions AS s WHERE s.session_id = r.session_id)

-- name: contents
-- The faces of one session as a shard of the session's revision holds them. The hash of each face is taken over the
-- bytes that the shard's side puts together, and two halves of it are summed up: the order plays no part.
SELECT
    coalesce((
        SELECT revision FROM session_generations WHERE generation = %(generation)s AND session_id = %(session)s
    ), 0) AS revision,
    count(*) AS faces, count(DISTINCT photo_id) AS photos,
    coalesce(sum(('x' || encode(substring(hash FROM 1 FOR 8), 'hex'))::bit(64)::bigint), 0) AS first_sum,
    coalesce(sum(('x' || encode(substring(hash FROM 9 FOR 8), 'hex'))::bit(64)::bigint), 0) AS second_sum
FROM (
    SELECT photo_id, sha256(
        convert_to(photo_id, 'UTF8') || '\x00' || int2send(face_index) || float4send(confidence)
        || float4send(box_x) || float4send(box_y) || float4send(box_width) || float4send(box_height)
        || halfvec_send(embedding)
    ) AS hash
    FROM face_embeddings
    WHERE generation = %(generation)s AND session_id = %(session)s
    OFFSET 0
) AS f

-- name: unaccounted_photos
-- Events of photo-indexed that the ledger knows nothing of: no row of that time or a later one, and no fence. An
-- event without a time of its own never passes a fence.
SELECT e.place - 1 AS index, r.occurred_at, f.fence
FROM unnest(%(sessions)s::text[], %(photos)s::text[], %(times)s::timestamptz[], %(given)s::boolean[])
    WITH ORDINALITY AS e (session_id, photo_id, occurred_at, given, place)
LEFT JOIN sessions AS s ON s.session_id = e.session_id
LEFT JOIN photos AS p ON p.session_id = e.session_id AND p.photo_id = e.photo_id
LEFT JOIN photo_results AS r
    ON r.session_id = e.session_id AND r.photo_id = e.photo_id AND r.generation = %(generation)s
CROSS JOIN LATERAL (SELECT greatest(p.deleted_at, s.deleted_at) AS fence) AS f
WHERE (r.occurred_at >= e.occurred_at) IS NOT TRUE AND (f.fence >= e.occurred_at) IS NOT TRUE
    AND (e.given OR f.fence IS NULL)
ORDER BY e.place

-- name: unfenced
-- Deletions whose fence is missing or earlier; those without a photo are of whole sessions.
SELECT e.place - 1 AS index, CASE WHEN e.photo_id IS NULL THEN s.deleted_at ELSE p.deleted_at END AS fence
FROM unnest(%(sessions)s::text[], %(photos)s::text[], %(times)s::timestamptz[])
    WITH ORDINALITY AS e (session_id, photo_id, occurred_at, place)
LEFT JOIN sessions AS s ON s.session_id = e.session_id
LEFT JOIN photos AS p ON p.session_id = e.session_id AND p.photo_id = e.photo_id
WHERE (CASE WHEN e.photo_id IS NULL THEN s.deleted_at ELSE p.deleted_at END >= e.occurred_at) IS NOT TRUE
ORDER BY e.place
