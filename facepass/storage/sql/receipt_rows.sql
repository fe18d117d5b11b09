-- name: newest_event
-- The newest event that any row of a session rests on, or those of one of its photos.
SELECT greatest(
    CASE WHEN %(photo)s::text IS NULL THEN (SELECT updated_at FROM sessions WHERE session_id = %(session)s) END,
    (
        SELECT max(occurred_at) FROM photos
        WHERE session_id = %(session)s AND photo_id = coalesce(%(photo)s::text, photo_id)
    )
)

-- name: receipt
-- Whether a fence stands, and what the deletion that set it removed: nothing, if another one had come first.
SELECT
    coalesce(r.photos_removed, 0) AS photos_removed, coalesce(r.faces_removed, 0) AS faces_removed,
    coalesce(r.applied_at, clock_timestamp()) AS applied_at
FROM sessions AS s
LEFT JOIN photos AS p ON p.session_id = s.session_id AND p.photo_id = %(photo)s
LEFT JOIN deletion_receipts AS r
    ON r.session_id = s.session_id AND r.photo_id = coalesce(%(photo)s, '') AND r.fence = %(fence)s
WHERE s.session_id = %(session)s AND greatest(s.deleted_at, p.deleted_at) >= %(fence)s
