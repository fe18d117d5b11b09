DROP TABLE legacy_events, uploads, idempotency_keys, token_secrets, api_keys;
