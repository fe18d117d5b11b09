-- name: ledger
-- The columns of a session s and its row of the ledger g: zeros where there is none.
e.session_id, s.session_id IS NOT NULL AS known, s.facepass_enabled,
coalesce(g.revision, 0) AS revision, coalesce(g.delta_floor, 0) AS delta_floor,
coalesce(g.pending, 0) AS pending, coalesce(g.indexed, 0) AS indexed, coalesce(g.no_face, 0) AS no_face,
coalesce(g.filtered, 0) AS filtered, coalesce(g.failed, 0) AS failed, coalesce(g.deleted, 0) AS deleted,
coalesce(g.photo_count, 0) AS photo_count, coalesce(g.face_count, 0) AS face_count, g.last_indexed

-- name: ledgers
-- Some sessions, heard of or not.
SELECT {ledger}
FROM unnest(%(sessions)s::text[]) AS e (session_id)
LEFT JOIN sessions AS s ON s.session_id = e.session_id
LEFT JOIN session_generations AS g ON g.session_id = e.session_id AND g.generation = %(generation)s

-- name: session
-- One session, heard of or not, with what was announced of it.
SELECT {ledger}, s.name, s.studio_id, s.deleted_at
FROM (SELECT %(session)s::text AS session_id) AS e
LEFT JOIN sessions AS s ON s.session_id = e.session_id
LEFT JOIN session_generations AS g ON g.session_id = e.session_id AND g.generation = %(generation)s

-- name: known
-- Whether anything was ever heard of a session.
SELECT EXISTS (SELECT FROM sessions WHERE session_id = %(session)s)
