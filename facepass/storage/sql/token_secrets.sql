-- name: make
-- The secret that signs guests' tokens, made once: whoever comes second finds the first one's.
INSERT INTO token_secrets (secret) VALUES (%(secret)s) ON CONFLICT DO NOTHING

-- name: read
-- The secret in force.
SELECT secret FROM token_secrets
