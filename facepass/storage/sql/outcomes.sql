-- name: read
-- What is known of some photos of a session, with the fence that covers each.
SELECT
    e.photo_id, r.state, r.occurred_at, r.attempts, p.s3_key, greatest(p.deleted_at, s.deleted_at),
    r.revision, r.faces_detected, r.confidence, r.error
FROM unnest(%(photos)s::text[]) AS e (photo_id)
LEFT JOIN sessions AS s ON s.session_id = %(session)s
LEFT JOIN photos AS p ON p.session_id = %(session)s AND p.photo_id = e.photo_id
LEFT JOIN photo_results AS r
    ON r.session_id = %(session)s AND r.photo_id = e.photo_id AND r.generation = %(generation)s
