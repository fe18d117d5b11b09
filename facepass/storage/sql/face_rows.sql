-- name: of_photo
-- The stored faces of one photo, with their embeddings; a photo has few.
SELECT
    face_index AS index, box_x, box_y, box_width, box_height, confidence,
    quality_size, quality_sharpness, quality_yaw, quality_pitch, quality_roll, embedding::vector::real[] AS embedding
FROM face_embeddings
WHERE generation = %(generation)s AND session_id = %(session)s AND photo_id = %(photo)s
ORDER BY face_index
