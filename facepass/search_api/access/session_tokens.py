"""Guests' tokens: a session's link carries one, and the page sends it with its requests.

The link is `{public_url}/api/v1/sessions/{id}/interface#token=...`: what follows `#` never leaves the browser, so
the token is in no server's log and in no Referer. The document of the page needs no token; its script reads the
fragment and sends `Authorization: Bearer ...` with every request. A token in a query string is not accepted.

A token is a JWT, signed (HS256) with the secret in PostgreSQL: the session's id as `sub`, and `exp`.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import jwt

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError
from facepass.schemas.ids import SessionId
from facepass.schemas.logs import get_logger
from facepass.storage import Database
from facepass.storage.callers import read_secret

_log = get_logger(__name__)

_ALGORITHM = "HS256"
_AUDIENCE = "facepass-guest"

MAX_TOKEN_CHARACTERS = 8192
"""The longest session id makes a token of 4,300."""

CACHE_SECONDS = 30.0
"""How long the secret is used before it is looked at again: a new one takes effect within this time."""

_READ_PAUSE_SECONDS = 2.0
"""Between two reads at least, however many wrong tokens come."""

_READ_SECONDS = 1.0
"""How long a search waits for the database to look again; with the secret in hand it goes on without."""


def make_token(secret: bytes, session_id: SessionId, lifetime: timedelta) -> str:
    """A token for the guests of a session."""
    claims = {"sub": session_id, "aud": _AUDIENCE, "exp": datetime.now(UTC) + lifetime}
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def read_token(secret: bytes, token: str) -> SessionId:
    """The session whose guests the token is for.

    Raises:
        PermanentError: `token_expired`, `token_required` (anything else that is wrong with it).
    """
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise invalid_token()
    try:
        claims = jwt.decode(
            token, secret, algorithms=[_ALGORITHM], audience=_AUDIENCE, options={"require": ["sub", "exp", "aud"]}
        )
    except jwt.ExpiredSignatureError:
        raise PermanentError(ErrorCode.TOKEN_EXPIRED, "this link has expired; ask for a new one") from None
    except jwt.InvalidTokenError:
        raise invalid_token() from None
    return SessionId(claims["sub"])


def invalid_token() -> PermanentError:
    """The refusal of a guest without a token, or with one that is of no use here."""
    return PermanentError(
        ErrorCode.TOKEN_REQUIRED, "this session is open to its guests' link alone; ask the photographer for it"
    )


class SessionTokens:
    """The check of tokens against the secret in the database, or the one it knows when that is away."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._secret: bytes | None = None
        self._read_at = -float("inf")
        self._reading = asyncio.Lock()

    async def session(self, token: str) -> SessionId:
        """The same as `read_token`, with the secret of the database.

        Raises:
            TransientError: `database_unavailable`, when the secret was never read.
        """
        secret = await self._current(CACHE_SECONDS)
        try:
            return read_token(secret, token)
        except PermanentError as exc:
            if exc.code is not ErrorCode.TOKEN_REQUIRED:
                raise
            newer = await self._current(_READ_PAUSE_SECONDS)
            if newer == secret:
                raise
            return read_token(newer, token)

    async def _current(self, age: float) -> bytes:
        """The secret, looked at again if it is older than `age` seconds and nobody is doing so already."""
        secret = self._secret
        if secret is None:
            async with self._reading:
                return self._secret or await self._read()
        if time.monotonic() <= self._read_at + age or self._reading.locked():
            return secret
        async with self._reading:
            try:
                async with asyncio.timeout(_READ_SECONDS):
                    return await self._read()
            except (FacePassError, TimeoutError) as exc:
                self._read_at = time.monotonic()
                _log.warning("token_secret_not_read", reason=type(exc).__name__)
                return secret

    async def _read(self) -> bytes:
        self._secret = secret = await read_secret(self._db)
        self._read_at = time.monotonic()
        return secret
