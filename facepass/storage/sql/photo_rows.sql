-- name: columns
-- What the tables have of a photo: its session s, its events p, and what the active generation made of it r.
s.session_id IS NOT NULL AS session_known, s.deleted_at AS session_deleted_at,
p.s3_key, p.occurred_at AS newest_event, p.deleted_at,
r.state, r.occurred_at, coalesce(r.revision, 0) AS revision, coalesce(r.faces_stored, 0) AS faces_stored,
coalesce(r.faces_detected, 0) AS faces_detected, r.confidence, r.left_out, r.error,
coalesce(r.attempts, 0) AS attempts, r.next_attempt_at,
r.origin_topic || '[' || r.origin_partition || ']@' || r.origin_offset AS record

-- name: some
-- Some photos of a session, heard of or not.
SELECT e.photo_id, {columns}
FROM unnest(%(photos)s::text[]) AS e (photo_id)
LEFT JOIN sessions AS s ON s.session_id = %(session)s
LEFT JOIN photos AS p ON p.session_id = %(session)s AND p.photo_id = e.photo_id
LEFT JOIN photo_results AS r
    ON r.session_id = %(session)s AND r.photo_id = e.photo_id AND r.generation = %(generation)s

-- name: listed
-- A session's photos after one of them, in the order of the primary key, which compares bytes.
SELECT r.photo_id, {columns}
FROM photo_results AS r
LEFT JOIN sessions AS s ON s.session_id = r.session_id
LEFT JOIN photos AS p ON p.session_id = r.session_id AND p.photo_id = r.photo_id
WHERE r.generation = %(generation)s AND r.session_id = %(session)s AND r.photo_id > %(after)s
    AND (cardinality(%(states)s::text[]) = 0 OR r.state = ANY(%(states)s))
ORDER BY r.photo_id
LIMIT %(limit)s

-- name: unfinished
-- Photos that failed or still wait, and why; failed ones first.
SELECT r.photo_id, {columns}
FROM photo_results AS r
LEFT JOIN sessions AS s ON s.session_id = r.session_id
LEFT JOIN photos AS p ON p.session_id = r.session_id AND p.photo_id = r.photo_id
WHERE r.generation = %(generation)s AND r.session_id = %(session)s AND r.state IN ('failed', 'pending')
ORDER BY r.state, r.photo_id
LIMIT %(limit)s
