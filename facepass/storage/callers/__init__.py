"""The rows of those who call: API keys, the secret of guests' tokens, idempotency keys, legacy events.

Decides nothing about a call: that is `search_api.access`.
"""

from facepass.storage.callers.api_keys import (
    ApiKey,
    NewKey,
    create_first_key,
    create_key,
    hash_key,
    note_use,
    read_keys,
    revoke_key,
    rotate_key,
)
from facepass.storage.callers.idempotency_keys import Claim, KeptAnswer, claim_key, forget_keys
from facepass.storage.callers.legacy_events import (
    LegacyEvent,
    create_event,
    event_by_number,
    event_by_uuid,
    list_events,
)
from facepass.storage.callers.token_secrets import read_secret

__all__ = [
    "ApiKey",
    "Claim",
    "KeptAnswer",
    "LegacyEvent",
    "NewKey",
    "claim_key",
    "create_event",
    "create_first_key",
    "create_key",
    "event_by_number",
    "event_by_uuid",
    "forget_keys",
    "hash_key",
    "list_events",
    "note_use",
    "read_keys",
    "read_secret",
    "revoke_key",
    "rotate_key",
]
