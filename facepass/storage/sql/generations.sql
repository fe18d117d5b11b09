-- name: migration
-- The migration that the database is at; fails with undefined_table where FacePass's tables are missing.
SELECT version_num FROM facepass_migration

-- name: active
-- The generation whose vectors are written and searched.
SELECT generation, pack, vector_size, fingerprint FROM generations WHERE state = 'active'

-- name: lock
-- Lets one process at a time create a generation.
SELECT pg_advisory_xact_lock(%s)

-- name: create
-- A new active generation; its partitions follow in the same transaction.
INSERT INTO generations (pack, vector_size, operating_point, fingerprint, state)
VALUES (%s, %s, %s, %s, 'active')
RETURNING generation

-- name: create_results
-- The partition of one generation's results.
CREATE TABLE {results} PARTITION OF photo_results FOR VALUES IN ({generation})

-- name: create_faces
-- The partition of one generation's faces: every vector has its size.
CREATE TABLE {faces} PARTITION OF face_embeddings (
    CONSTRAINT {check} CHECK (vector_dims(embedding) = {size})
) FOR VALUES IN ({generation})

-- name: keep_inline
-- Vectors stay in the row: out of line they read several times slower.
ALTER TABLE {faces} ALTER COLUMN embedding SET STORAGE PLAIN
