"""API keys: made, listed, revoked, rotated. A key itself is shown once and stored nowhere, only its SHA-256.

A key is 256 random bits, so its hash needs no salt and no slow function: there is nothing to guess.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from psycopg.rows import dict_row, kwargs_row

from facepass.schemas.callers import Scope
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.storage.database import Connection, Database
from facepass.storage.statements import load_statements

KEY_PREFIX = "fp_"
"""Makes a key recognisable, to people and to scanners for leaked secrets."""

KEY_BYTES = 32

_STATEMENTS = load_statements("api_keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """The known facts of a key.

    Attributes:
        expires_at: of a key that was rotated; None: it does not expire.
        last_used_at: to the minute; None: never.
        state: by the database's clock, when it was read.
    """

    key_id: str
    name: str
    key_hash: bytes = field(repr=False)
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    state: Literal["valid", "revoked", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just made. `key` is here alone: whoever gets this value shows it once."""

    key_id: str
    key: str = field(repr=False)


def hash_key(key: bytes) -> bytes:
    """The stored form of a key: SHA-256, 32 bytes."""
    return hashlib.sha256(key).digest()


async def create_key(db: Database, name: str, scopes: Iterable[Scope]) -> NewKey:
    """Make a key.

    Raises: as `Database.transaction`.
    """

    async def work(connection: Connection) -> NewKey:
        return await _insert(connection, name, scopes)

    return await db.run(work)


async def create_first_key(db: Database, name: str, scopes: Iterable[Scope]) -> NewKey | None:
    """Make a key if there has never been one; None otherwise, revoked ones count too.

    Raises: as `Database.transaction`.
    """
    return None if await read_keys(db) else await create_key(db, name, scopes)


async def rotate_key(db: Database, key_id: str, grace: timedelta) -> NewKey:
    """Make a key of the same name and scopes; the old one goes on for `grace`, and never longer than before.

    Raises:
        PermanentError: `key_not_found`: none of this id is valid.
        FacePassError: as `Database.transaction`.
    """

    async def work(connection: Connection) -> NewKey:
        cursor = connection.cursor(row_factory=dict_row)
        row = await (await cursor.execute(_STATEMENTS["retire"], {"key_id": key_id, "grace": grace})).fetchone()
        if row is None:
            raise _not_found("no valid key has this id")
        return await _insert(connection, row["name"], map(Scope, row["scopes"]))

    return await db.run(work)


async def revoke_key(db: Database, key_id: str) -> None:
    """Make a key useless for good; one that is revoked already stays so.

    Raises:
        PermanentError: `key_not_found`.
        FacePassError: as `Database.transaction`.
    """

    async def work(connection: Connection) -> None:
        if await (await connection.execute(_STATEMENTS["revoke"], {"key_id": key_id})).fetchone() is None:
            raise _not_found("no key has this id")

    await db.run(work)


async def read_keys(db: Database) -> list[ApiKey]:
    """Every key that was ever made, oldest first.

    Raises: as `Database.transaction`.
    """

    async def work(connection: Connection) -> list[ApiKey]:
        # psycopg calls `_api_key` with each row's columns by name.
        cursor = connection.cursor(row_factory=kwargs_row(_api_key))
        return await (await cursor.execute(_STATEMENTS["all"])).fetchall()

    return await db.run(work)


async def note_use(db: Database, key_id: str) -> None:
    """Record that a key was used now, to the minute.

    Raises: as `Database.transaction`.
    """

    async def work(connection: Connection) -> None:
        await connection.execute(_STATEMENTS["note_use"], {"key_id": key_id})

    await db.run(work)


def _api_key(*, scopes: list[str], **columns: Any) -> ApiKey:
    return ApiKey(scopes=frozenset(map(Scope, scopes)), **columns)


async def _insert(connection: Connection, name: str, scopes: Iterable[Scope]) -> NewKey:
    made = NewKey(key_id=secrets.token_hex(6), key=KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES))
    values = {
        "key_id": made.key_id,
        "name": name,
        "hash": hash_key(made.key.encode()),
        "scopes": sorted(scope.value for scope in scopes),
    }
    await connection.execute(_STATEMENTS["insert"], values)
    return made


def _not_found(message: str) -> PermanentError:
    return PermanentError(ErrorCode.KEY_NOT_FOUND, f"{message}; `facepass keys list` shows them all")
