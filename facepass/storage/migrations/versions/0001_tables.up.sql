-- ids compare by their bytes: the order in which locks are taken must not depend on a locale.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE sessions (
    session_id text COLLATE "C" PRIMARY KEY,
    name text,
    studio_id text,
    facepass_enabled boolean,
    updated_at timestamptz,
    deleted_at timestamptz
);
COMMENT ON TABLE sessions IS 'Photo sessions. A row is never removed, so that a revision never starts again.';
COMMENT ON COLUMN sessions.facepass_enabled IS 'NULL: not announced since the last deletion that covers it.';
COMMENT ON COLUMN sessions.updated_at IS 'occurred_at of the newest session-updated; NULL: never announced.';
COMMENT ON COLUMN sessions.deleted_at IS 'Fence: nothing of the session up to this time comes back.';

-- The tables of photos have no foreign keys: only the write doors write them, under the session's lock, and a
-- check for every row would slow down the registration of photos.
CREATE TABLE photos (
    session_id text COLLATE "C" NOT NULL,
    photo_id text COLLATE "C" NOT NULL,
    s3_key text,
    occurred_at timestamptz,
    deleted_at timestamptz,
    PRIMARY KEY (session_id, photo_id)
);
COMMENT ON TABLE photos IS 'What the events said of a photo; what a model made of it is in photo_results.';
COMMENT ON COLUMN photos.s3_key IS 'NULL: deleted, and erased.';
COMMENT ON COLUMN photos.occurred_at IS 'Of the newest event that no fence covered; NULL: only its deletion was seen.';
COMMENT ON COLUMN photos.deleted_at IS 'Fence: nothing of the photo up to this time comes back.';

CREATE TABLE generations (
    generation integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pack text NOT NULL,
    vector_size integer NOT NULL CHECK (vector_size BETWEEN 1 AND 4000),
    operating_point double precision NOT NULL,
    fingerprint jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('building', 'active', 'retired')),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE generations IS 'Model packs with the settings that change vectors or which faces count.';
CREATE UNIQUE INDEX generations_one_active ON generations (state) WHERE state = 'active';

CREATE TABLE session_generations (
    generation integer NOT NULL REFERENCES generations,
    session_id text COLLATE "C" NOT NULL REFERENCES sessions,
    revision bigint NOT NULL DEFAULT 0,
    delta_floor bigint NOT NULL DEFAULT 0,
    pending integer NOT NULL DEFAULT 0 CHECK (pending >= 0),
    indexed integer NOT NULL DEFAULT 0 CHECK (indexed >= 0),
    no_face integer NOT NULL DEFAULT 0 CHECK (no_face >= 0),
    filtered integer NOT NULL DEFAULT 0 CHECK (filtered >= 0),
    failed integer NOT NULL DEFAULT 0 CHECK (failed >= 0),
    deleted integer NOT NULL DEFAULT 0 CHECK (deleted >= 0),
    photo_count integer NOT NULL DEFAULT 0 CHECK (photo_count >= 0),
    face_count integer NOT NULL DEFAULT 0 CHECK (face_count >= 0),
    last_indexed timestamptz,
    PRIMARY KEY (session_id, generation)
);
COMMENT ON TABLE session_generations IS 'The ledger: one row a session and generation, always equal to a recount.';
COMMENT ON COLUMN session_generations.delta_floor IS
    'Newest revision whose removals have been purged: a shard below it loads anew.';
COMMENT ON COLUMN session_generations.photo_count IS 'Photos with at least one stored face.';

CREATE TABLE photo_results (
    generation integer NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    photo_id text COLLATE "C" NOT NULL,
    state text NOT NULL
        CHECK (state IN ('pending', 'indexed', 'no_face', 'filtered', 'failed', 'deleted')),
    occurred_at timestamptz,
    revision bigint NOT NULL DEFAULT 0,
    faces_stored integer NOT NULL DEFAULT 0,
    faces_detected integer NOT NULL DEFAULT 0,
    confidence double precision,
    error text,
    attempts integer NOT NULL DEFAULT 0,
    first_failed_at timestamptz,
    next_attempt_at timestamptz,
    origin_topic text,
    origin_partition integer,
    origin_offset bigint,
    etag text,
    left_out jsonb,
    PRIMARY KEY (session_id, photo_id, generation),
    CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL))
) PARTITION BY LIST (generation);
COMMENT ON TABLE photo_results IS 'What a generation made of a photo: its state, and the stamp that deltas go by.';
COMMENT ON COLUMN photo_results.occurred_at IS
    'Of the event that the row rests on; the faces of a pending photo may be of an older one.';
COMMENT ON COLUMN photo_results.revision IS 'Of the session when the photo''s faces last changed; 0: never.';
COMMENT ON COLUMN photo_results.faces_stored IS 'Rows in face_embeddings.';
COMMENT ON COLUMN photo_results.faces_detected IS 'With those that the quality gate left out.';
COMMENT ON COLUMN photo_results.confidence IS 'Detector score of the most confident face.';
COMMENT ON COLUMN photo_results.first_failed_at IS
    'When this event first failed; of a failed photo it stands only until its dead letter is written.';
COMMENT ON COLUMN photo_results.left_out IS 'Box, confidence and reason of faces that the quality gate left out.';
-- what changed after a revision; registering a new photo does not pay for it
CREATE INDEX photo_results_changed ON photo_results (session_id, revision) WHERE revision > 0;
-- what the sweep takes up
CREATE INDEX photo_results_overdue ON photo_results (next_attempt_at) WHERE state = 'pending';

CREATE TABLE face_embeddings (
    generation integer NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    photo_id text COLLATE "C" NOT NULL,
    face_index smallint NOT NULL,
    embedding halfvec STORAGE PLAIN NOT NULL,
    box_x real NOT NULL,
    box_y real NOT NULL,
    box_width real NOT NULL,
    box_height real NOT NULL,
    landmarks real[] STORAGE PLAIN NOT NULL CHECK (cardinality(landmarks) = 10),
    confidence real NOT NULL,
    quality_size real NOT NULL,
    quality_sharpness real NOT NULL,
    quality_yaw real NOT NULL,
    quality_pitch real NOT NULL,
    quality_roll real NOT NULL,
    occurred_at timestamptz NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (session_id, photo_id, face_index, generation)
) PARTITION BY LIST (generation);
COMMENT ON TABLE face_embeddings IS
    'One row a face that counts. No vector index on purpose: searches run on shards in memory.';
COMMENT ON COLUMN face_embeddings.embedding IS 'L2-normalised; each partition checks its size.';
COMMENT ON COLUMN face_embeddings.box_x IS 'Pixels of the oriented photo at full size.';
COMMENT ON COLUMN face_embeddings.landmarks IS 'x, y of right eye, left eye, nose, right and left mouth corner.';
COMMENT ON COLUMN face_embeddings.occurred_at IS 'Of the event that the face came from; fences go by it.';

CREATE TABLE replicas (
    replica_id text COLLATE "C" PRIMARY KEY,
    applied_as_of timestamptz NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE replicas IS 'Serving processes: each has applied every deletion committed before applied_as_of.';
