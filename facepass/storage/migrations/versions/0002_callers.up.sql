-- API keys: who may index, delete and read. A key is 256 random bits, so a plain SHA-256 cannot be turned back.
CREATE TABLE api_keys (
    key_id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    key_hash bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    scopes text[] NOT NULL CHECK (scopes <@ ARRAY['index', 'read', 'admin']),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz, -- of a key that was rotated: until then the old one works too
    revoked_at timestamptz,
    last_used_at timestamptz
);

-- What signs the guests' session tokens; every replica reads the same. One row.
CREATE TABLE token_secrets (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    secret bytea NOT NULL CHECK (octet_length(secret) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The first answer to each Idempotency-Key of a caller; without an answer the first call is still under way.
CREATE TABLE idempotency_keys (
    caller text NOT NULL,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    status smallint,
    answer jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, idempotency_key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Photos that FacePass itself put into the photo store. The row is there before the object, and goes after it.
CREATE TABLE uploads (
    s3_key text COLLATE "C" PRIMARY KEY,
    session_id text COLLATE "C" NOT NULL,
    photo_id text COLLATE "C" NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    remove_at timestamptz -- set by the deletion of the photo or session, or by a newer upload of the photo
);
CREATE INDEX uploads_by_photo ON uploads (session_id, photo_id);
CREATE INDEX uploads_to_remove ON uploads (remove_at) WHERE remove_at IS NOT NULL;

-- The legacy routes' events: each is the session whose id is its UUID.
CREATE TABLE legacy_events (
    event_number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_uuid uuid NOT NULL UNIQUE,
    name text NOT NULL,
    location text,
    event_date timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
