-- name: session
-- What was announced of a session, and its row of the ledger.
SELECT
    s.name, s.studio_id,
    s.facepass_enabled, coalesce(g.revision, 0), coalesce(g.pending, 0), coalesce(g.indexed, 0),
    coalesce(g.no_face, 0), coalesce(g.filtered, 0), coalesce(g.failed, 0), coalesce(g.deleted, 0),
    coalesce(g.photo_count, 0), coalesce(g.face_count, 0), g.last_indexed
FROM sessions AS s
LEFT JOIN session_generations AS g ON g.session_id = s.session_id AND g.generation = %(generation)s
WHERE s.session_id = %(session)s

-- name: known
-- Whether anything was ever heard of a session.
SELECT EXISTS (SELECT FROM sessions WHERE session_id = %(session)s)

-- name: photos
-- A session's photos after one of them, in the order of the primary key, which compares bytes.
SELECT
    r.photo_id, r.state, r.error, r.attempts, r.next_attempt_at, r.faces_stored, r.faces_detected, r.left_out,
    r.occurred_at, p.s3_key
FROM photo_results AS r
LEFT JOIN photos AS p ON p.session_id = r.session_id AND p.photo_id = r.photo_id
WHERE r.generation = %(generation)s AND r.session_id = %(session)s AND r.photo_id > %(after)s
    AND (cardinality(%(states)s::text[]) = 0 OR r.state = ANY(%(states)s))
ORDER BY r.photo_id
LIMIT %(limit)s
