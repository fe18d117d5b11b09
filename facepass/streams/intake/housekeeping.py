"""The removal of what is old: uploaded photos that nothing rests on, old idempotency keys, old receipts."""

import asyncio
from time import monotonic

from facepass.schemas.errors import TransientError
from facepass.schemas.logs import get_logger
from facepass.storage import Database
from facepass.storage.callers import forget_keys
from facepass.storage.photos import UploadStore
from facepass.storage.writes import forget_receipts

_log = get_logger(__name__)

_SWEEP_SECONDS = 5.0
_SWEPT_AT_ONCE = 100
"""Objects looked at in one go."""

_FORGET_SECONDS = 600.0
"""Between two removals of old rows."""

_RECEIPTS_SECONDS = 86400.0
"""How long receipts are kept: whoever waits for one waits for minutes."""


async def keep_house_forever(db: Database, uploads: UploadStore, *, keys_kept_seconds: float) -> None:
    """Sweep uploads and old rows. Any number of processes may; an outage of PostgreSQL only postpones it."""
    forget_at = monotonic()
    while True:
        try:
            while await uploads.sweep(_SWEPT_AT_ONCE) == _SWEPT_AT_ONCE:
                pass
            if monotonic() >= forget_at:
                await forget_keys(db, kept_seconds=keys_kept_seconds)
                await forget_receipts(db, kept_seconds=_RECEIPTS_SECONDS)
                forget_at = monotonic() + _FORGET_SECONDS
        except TransientError as exc:
            _log.warning("housekeeping_postponed", error=exc)
        await asyncio.sleep(_SWEEP_SECONDS)
