-- name: changed
-- The photos that changed after a revision, as two buffers: the ids, sorted, each ended by NUL, which no id holds;
-- and each id's hash. A load (after revision 0) leaves out photos without a face: nothing of them is there to drop.
SELECT
    string_agg(convert_to(photo_id, 'UTF8'), '\x00' ORDER BY photo_id) || '\x00' AS ids,
    string_agg(int8send(hashtextextended(photo_id, %(seed)s)), '' ORDER BY photo_id) AS hashes
FROM photo_results
WHERE generation = %(generation)s AND session_id = %(session)s AND revision > %(since)s
    AND (%(since)s > 0 OR faces_stored > 0)

-- name: faces
-- The faces of those photos. A photo is known by its id's hash, so that every column has a fixed width; a join with
-- the photos' numbers takes a third longer.
COPY (
    SELECT
        hashtextextended(photo_id, %(seed)s), face_index, confidence, box_x, box_y, box_width, box_height, embedding
    FROM face_embeddings AS f
    WHERE generation = %(generation)s AND session_id = %(session)s
        AND (%(since)s = 0 OR photo_id IN (
            SELECT photo_id FROM photo_results
            WHERE generation = %(generation)s AND session_id = %(session)s AND revision > %(since)s
        ))
) TO STDOUT (FORMAT BINARY)
