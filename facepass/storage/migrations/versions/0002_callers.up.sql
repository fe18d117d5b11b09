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
    claimed_until timestamptz NOT NULL, -- after that, a call that left no answer counts as dead
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
    occurred_at timestamptz NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    stored_at timestamptz,
    removing boolean NOT NULL DEFAULT false,
    due_at timestamptz
);
COMMENT ON COLUMN uploads.occurred_at IS 'Of the event that asks to index the photo: a fence covers the object by it.';
COMMENT ON COLUMN uploads.stored_at IS 'When the object was there whole; NULL: it may still be on its way.';
COMMENT ON COLUMN uploads.removing IS
    'The object is to go, or gone: its photo or session was deleted, a newer event names another key, or nothing
came of it.';
COMMENT ON COLUMN uploads.due_at IS 'When the sweep looks at it; NULL: a photo rests on it.';
CREATE INDEX uploads_by_photo ON uploads (session_id, photo_id);
CREATE INDEX uploads_due ON uploads (due_at) WHERE due_at IS NOT NULL;

-- What each deletion removed, for the receipt of whoever waits for it. Swept by age.
CREATE TABLE deletion_receipts (
    session_id text COLLATE "C" NOT NULL,
    photo_id text COLLATE "C" NOT NULL, -- empty: the whole session
    fence timestamptz NOT NULL,
    photos_removed integer NOT NULL,
    faces_removed integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (session_id, photo_id, fence)
);
CREATE INDEX deletion_receipts_by_age ON deletion_receipts (applied_at);

-- The legacy routes' events: each is the session whose id is its UUID.
CREATE TABLE legacy_events (
    event_number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_uuid uuid NOT NULL UNIQUE,
    name text NOT NULL,
    location text,
    event_date timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What the deletion of a session erases must not stay in its event. A trigger, so that the write doors know nothing
-- of the legacy routes and these can be taken out by themselves.
CREATE FUNCTION forget_legacy_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM legacy_events WHERE event_uuid::text = NEW.session_id AND created_at <= NEW.deleted_at;
    RETURN NULL;
END
$$;
CREATE TRIGGER forget_legacy_event AFTER UPDATE OF deleted_at ON sessions
FOR EACH ROW WHEN (NEW.deleted_at IS DISTINCT FROM OLD.deleted_at) EXECUTE FUNCTION forget_legacy_event();
