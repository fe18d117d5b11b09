DROP TRIGGER forget_legacy_event ON sessions;
DROP FUNCTION forget_legacy_event;
DROP TABLE legacy_events, deletion_receipts, uploads, idempotency_keys, token_secrets, api_keys;
