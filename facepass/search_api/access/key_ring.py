"""The check of API keys: those of the database and those of FACEPASS_API_KEYS.

The keys of the database are kept in memory for CACHE_SECONDS, so a revocation takes effect in every process within
that time. A key that is not among them is looked for in the database once more before it is refused, so a new key
works at once.
"""

import asyncio
import hmac
import time
from collections.abc import Sequence

from facepass.schemas.callers import Caller, Scope
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError
from facepass.schemas.logs import get_logger
from facepass.search_api.access.refusals import note_refusal
from facepass.storage import Database
from facepass.storage.callers import ApiKey, hash_key, note_use, read_keys

_log = get_logger(__name__)

CACHE_SECONDS = 2.0

_READ_PAUSE_SECONDS = 0.1
"""Between two reads at least: whoever sends wrong keys, however many, costs no more than ten queries a second."""

_NOTE_SECONDS = 60.0
"""How often a key's use is written at most."""

LEAST_CHARACTERS = 32
"""A configured key shorter than this is accepted, and warned of: it may be guessed."""


class KeyRing:
    """The keys that are valid, and the callers that they belong to. One a process."""

    def __init__(self, db: Database, configured: str) -> None:
        """Read the configured keys: each has every scope; they are separated by commas."""
        self._db = db
        self._configured = _read_configured(configured)
        self._stored: list[ApiKey] = []
        self._read_at = -float("inf")
        self._reading = asyncio.Lock()
        self._noted_at: dict[str, float] = {}

    async def caller(self, presented: str | None, address: str) -> Caller:
        """The caller whose key this is.

        Args:
            presented: the header's value.
            address: the client's, for the log.

        Raises:
            PermanentError: `key_required`: there is no key, or it is unknown, revoked or expired.
            TransientError: `database_unavailable`: no key of the settings, and the others cannot be read.
        """
        if not presented:
            raise _refused("missing_key", address)
        digest = hash_key(presented.encode("latin-1"))  # the bytes that came: headers are read as Latin-1
        if (configured := _equal(self._configured, digest)) is not None:
            return configured
        asked_at = time.monotonic()
        key = await self._find(digest, newer_than=asked_at - CACHE_SECONDS)
        if key is None:
            key = await self._find(digest, newer_than=asked_at)
        if key is None:
            raise _refused("unknown_key", address)
        if key.state != "valid":
            raise _refused(f"{key.state}_key", address, key_id=key.key_id)
        await self._note_use(key)
        return Caller(key_id=key.key_id, name=key.name, scopes=key.scopes)

    async def _find(self, digest: bytes, *, newer_than: float) -> ApiKey | None:
        """The key with this hash, as read at or after a time."""
        if self._read_at < newer_than:
            async with self._reading:
                if self._read_at < newer_than:
                    await self._read()
        found = None
        for key in self._stored:
            if hmac.compare_digest(key.key_hash, digest):
                found = key  # goes on to the end: the time does not tell which one it was
        return found

    async def _read(self) -> None:
        await asyncio.sleep(max(0.0, self._read_at + _READ_PAUSE_SECONDS - time.monotonic()))
        begun = time.monotonic()
        self._stored = await read_keys(self._db)
        self._read_at = begun

    async def _note_use(self, key: ApiKey) -> None:
        now = time.monotonic()
        if now < self._noted_at.get(key.key_id, -float("inf")) + _NOTE_SECONDS:
            return
        self._noted_at[key.key_id] = now
        try:
            await note_use(self._db, key.key_id)
        except FacePassError as exc:
            _log.warning("key_use_not_recorded", key_id=key.key_id, error=exc)


def _refused(reason: str, address: str, **named: str) -> PermanentError:
    """The refusal of a key, noted: the caller is not told which of the reasons it is."""
    note_refusal(reason, address, **named)
    return PermanentError(ErrorCode.KEY_REQUIRED, "send a valid API key in the header X-API-Key")


def _read_configured(text: str) -> list[tuple[bytes, Caller]]:
    keys = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for number, key in enumerate(keys, 1):
        if len(key) < LEAST_CHARACTERS:
            _log.warning(
                "weak_key",
                setting="FACEPASS_API_KEYS",
                number=number,
                characters=len(key),
                advice="make a key with facepass keys create",
            )
    return [
        (
            hash_key(key.encode()),
            Caller(key_id=f"settings-{number}", name="FACEPASS_API_KEYS", scopes=frozenset({Scope.ADMIN})),
        )
        for number, key in enumerate(keys, 1)
    ]


def _equal(keys: Sequence[tuple[bytes, Caller]], digest: bytes) -> Caller | None:
    found = None
    for stored, caller in keys:
        if hmac.compare_digest(stored, digest):
            found = caller
    return found
