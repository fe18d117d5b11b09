-- name: ledgers
-- The ledgers of some sessions, with the revision below which a shard must load anew.
SELECT
    s.session_id, s.facepass_enabled, coalesce(g.revision, 0), coalesce(g.pending, 0), coalesce(g.indexed, 0),
    coalesce(g.no_face, 0), coalesce(g.filtered, 0), coalesce(g.failed, 0), coalesce(g.deleted, 0),
    coalesce(g.photo_count, 0), coalesce(g.face_count, 0), g.last_indexed, coalesce(g.delta_floor, 0)
FROM sessions AS s
LEFT JOIN session_generations AS g ON g.session_id = s.session_id AND g.generation = %(generation)s
WHERE s.session_id = ANY(%(sessions)s)

-- name: changed
-- The photos that changed after a revision, as one buffer: sorted, each ended by NUL, which no id holds. A load
-- (after revision 0) leaves out photos without a face: nothing of them is there to be dropped.
SELECT string_agg(convert_to(photo_id, 'UTF8'), '\x00' ORDER BY photo_id) || '\x00'
FROM photo_results
WHERE generation = %(generation)s AND session_id = %(session)s AND revision > %(since)s
    AND (%(since)s > 0 OR faces_stored > 0)

-- name: faces
-- The faces of those photos; `photo` is a photo's place in the buffer. Every column has a fixed width.
COPY (
    WITH changed AS MATERIALIZED (
        SELECT photo_id, (row_number() OVER (ORDER BY photo_id) - 1)::integer AS photo
        FROM photo_results
        WHERE generation = %(generation)s AND session_id = %(session)s AND revision > %(since)s
            AND (%(since)s > 0 OR faces_stored > 0)
    )
    SELECT
        changed.photo, f.face_index, f.confidence, f.box_x, f.box_y, f.box_width, f.box_height, f.embedding
    FROM face_embeddings AS f JOIN changed ON changed.photo_id = f.photo_id
    WHERE f.generation = %(generation)s AND f.session_id = %(session)s
) TO STDOUT (FORMAT BINARY)
