-- name: insert
-- A new key; only its hash is kept.
INSERT INTO api_keys (key_id, name, key_hash, scopes)
VALUES (%(key_id)s, %(name)s, %(hash)s, %(scopes)s)

-- name: all
-- Every key, oldest first. The database's clock says whether one still works, so that all replicas agree.
SELECT key_id, name, key_hash, scopes, created_at, expires_at, revoked_at, last_used_at,
    CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'valid' END
        AS state
FROM api_keys
ORDER BY created_at, key_id

-- name: revoke
-- The key works no more. Revoking it again keeps the first time.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = %(key_id)s RETURNING key_id

-- name: retire
-- The old key of a rotation goes on for a while, never longer than before. No row: there is no such valid key.
UPDATE api_keys SET expires_at = least(expires_at, now() + %(grace)s)
WHERE key_id = %(key_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
RETURNING name, scopes

-- name: note_use
-- When the key was last used, to the minute: one write a minute and key, however many replicas note it.
UPDATE api_keys SET last_used_at = now()
WHERE key_id = %(key_id)s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
