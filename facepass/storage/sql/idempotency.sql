-- name: claim
-- Takes a key for a call, if it is free: new, forgotten by age, or left by a call of the same request that died.
INSERT INTO idempotency_keys AS k (caller, idempotency_key, request_hash, claimed_until)
VALUES (
    %(caller)s, %(key)s, %(hash)s, clock_timestamp() + make_interval(secs => %(seconds)s)
)
ON CONFLICT (caller, idempotency_key) DO UPDATE SET
    request_hash = excluded.request_hash, claimed_until = excluded.claimed_until, status = NULL, answer = NULL,
    created_at = clock_timestamp()
WHERE k.created_at < clock_timestamp() - make_interval(secs => %(kept_seconds)s)
    OR (k.status IS NULL AND k.claimed_until < clock_timestamp() AND k.request_hash = excluded.request_hash)
RETURNING claimed_until

-- name: kept
-- What a key that is not free stands for.
SELECT request_hash, status, answer FROM idempotency_keys
WHERE caller = %(caller)s AND idempotency_key = %(key)s

-- name: answer
-- The call's answer, to be given again.
UPDATE idempotency_keys SET status = %(status)s, answer = %(answer)s
WHERE caller = %(caller)s AND idempotency_key = %(key)s AND claimed_until = %(claimed_until)s

-- name: release
-- A call that came to no answer worth keeping leaves its key free.
DELETE FROM idempotency_keys
WHERE caller = %(caller)s AND idempotency_key = %(key)s AND claimed_until = %(claimed_until)s AND status IS NULL

-- name: forget
-- Keys that are too old to be honoured.
DELETE FROM idempotency_keys WHERE created_at < clock_timestamp() - make_interval(secs => %(kept_seconds)s)
