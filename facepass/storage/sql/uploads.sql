-- name: begin
-- A row for an object that is about to be stored; if nothing comes of it, the sweep finds it here.
INSERT INTO uploads (s3_key, session_id, photo_id, occurred_at, due_at)
VALUES (
    %(key)s, %(session)s, %(photo)s, %(time)s, clock_timestamp() + make_interval(secs => %(storing_seconds)s)
)

-- name: confirm
-- The object is there whole. No row: a deletion came first, and the object must not stay.
UPDATE uploads SET
    stored_at = clock_timestamp(), due_at = clock_timestamp() + make_interval(secs => %(registered_seconds)s)
WHERE s3_key = %(key)s AND NOT removing
RETURNING s3_key

-- name: give_up
-- The object is there whole, and is to go.
UPDATE uploads SET
    removing = true, due_at = clock_timestamp(), stored_at = coalesce(stored_at, clock_timestamp())
WHERE s3_key = %(key)s

-- name: claim_due
-- Objects to look at, the longest due first; claimed for a while, so that another process takes others.
WITH due AS (
    SELECT s3_key FROM uploads
    WHERE due_at <= clock_timestamp()
    ORDER BY due_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE uploads AS u SET due_at = clock_timestamp() + make_interval(secs => %(again_seconds)s)
FROM due WHERE u.s3_key = due.s3_key
RETURNING u.s3_key

-- name: keep
-- Of some objects, those that a photo rests on stay as long as it does.
UPDATE uploads AS u SET due_at = NULL
FROM photos AS p
WHERE u.s3_key = ANY(%(keys)s) AND NOT u.removing
    AND p.session_id = u.session_id AND p.photo_id = u.photo_id AND p.s3_key = u.s3_key

-- name: condemn
-- The others that are due are to go, whatever they waited for.
UPDATE uploads SET removing = true
WHERE s3_key = ANY(%(keys)s) AND due_at IS NOT NULL
RETURNING s3_key

-- name: leaving
-- Objects that are to go, of a session or one of its photos.
SELECT s3_key FROM uploads
WHERE session_id = %(session)s AND photo_id = coalesce(%(photo)s, photo_id) AND removing

-- name: forget
-- The row of an object that is gone, unless one of its name may still be on its way.
DELETE FROM uploads
WHERE s3_key = %(key)s AND removing
    AND (stored_at IS NOT NULL OR begun_at < clock_timestamp() - make_interval(secs => %(storing_seconds)s))
