-- name: photo
-- What is known of one photo and its session, and what the active generation made of it. No row: nothing.
SELECT
    s.deleted_at, p.deleted_at, p.occurred_at, r.state, r.error, r.attempts, r.next_attempt_at, r.revision, r.left_out
FROM sessions AS s
LEFT JOIN photos AS p ON p.session_id = s.session_id AND p.photo_id = %(photo)s
LEFT JOIN photo_results AS r
    ON r.session_id = s.session_id AND r.photo_id = %(photo)s AND r.generation = %(generation)s
WHERE s.session_id = %(session)s

-- name: faces
-- The stored faces of one photo, with their embeddings; a photo has few.
SELECT
    face_index, box_x, box_y, box_width, box_height, confidence,
    quality_size, quality_sharpness, quality_yaw, quality_pitch, quality_roll, embedding::vector::real[]
FROM face_embeddings
WHERE generation = %(generation)s AND session_id = %(session)s AND photo_id = %(photo)s
ORDER BY face_index
