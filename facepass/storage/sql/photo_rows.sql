-- name: session
-- What was announced of a session, its fence, and the newest event that any of its rows rests on.
SELECT
    s.name, s.studio_id, s.facepass_enabled, s.updated_at, s.deleted_at,
    greatest(s.updated_at, (SELECT max(p.occurred_at) FROM photos AS p WHERE p.session_id = s.session_id))
FROM sessions AS s WHERE s.session_id = %(session)s

-- name: unfinished
-- Photos that failed or still wait, and why; failed ones first.
SELECT
    photo_id, state, error, attempts, occurred_at, next_attempt_at, origin_topic, origin_partition, origin_offset
FROM photo_results
WHERE generation = %(generation)s AND session_id = %(session)s AND state IN ('failed', 'pending')
ORDER BY state, photo_id
LIMIT %(limit)s

-- name: photo
-- The fence of one photo, the newest event that its rows rest on, and its faces.
SELECT p.deleted_at, p.occurred_at, coalesce(r.faces_stored, 0)
FROM photos AS p
LEFT JOIN photo_results AS r
    ON r.session_id = p.session_id AND r.photo_id = p.photo_id AND r.generation = %(generation)s
WHERE p.session_id = %(session)s AND p.photo_id = %(photo)s
