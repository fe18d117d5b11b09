"""Idempotency keys: a call that is repeated with its key gets the first call's answer, and does nothing.

After draft-ietf-httpapi-idempotency-key-header-07: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.storage.database import Connection, Database
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("idempotency")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """An HTTP answer as it is kept: status, JSON body, and the headers that belong to it."""

    status: int
    body: object
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A key that this call holds, until it says what became of it."""

    db: Database
    caller: str
    key: str
    claimed_until: datetime

    async def answer(self, answer: KeptAnswer) -> None:
        """Keep the call's answer.

        Raises: as `Database.run`.
        """
        kept = Jsonb({"body": answer.body, "headers": answer.headers})
        await self._execute("answer", status=answer.status, answer=kept)

    async def release(self) -> None:
        """Leave the key free for another attempt, unless there is an answer.

        Raises: as `Database.run`.
        """
        await self._execute("release")

    async def _execute(self, statement: str, **values: object) -> None:
        mine = {"caller": self.caller, "key": self.key, "claimed_until": self.claimed_until}

        async def write(connection: Connection) -> None:
            await connection.execute(_STATEMENTS[statement], {**mine, **values})

        await self.db.run(write)


async def claim_key(
    db: Database, *, caller: str, key: str, request_hash: bytes, kept_seconds: float, longest: float
) -> Claim | KeptAnswer:
    """Take `key` for a call of `caller`, or get the answer that it had before.

    Args:
        request_hash: SHA-256 of what the call asks for.
        kept_seconds: how long a key is remembered.
        longest: seconds that the call may take; after that its process counts as dead.

    Raises:
        PermanentError: `idempotency_mismatch`: the key was used with another request.
        TransientError: `request_under_way`: the first call has no answer yet. Otherwise as `Database.run`.
    """
    values = {
        "caller": caller,
        "key": key,
        "hash": request_hash,
        "kept_seconds": kept_seconds,
        "seconds": longest,
    }

    async def claim(connection: Connection) -> Claim | KeptAnswer:
        cursor = connection.cursor(row_factory=dict_row)
        claimed = await (await cursor.execute(_STATEMENTS["claim"], values)).fetchone()
        if claimed is not None:
            return Claim(db=db, caller=caller, key=key, claimed_until=claimed["claimed_until"])
        kept = await (await cursor.execute(_STATEMENTS["kept"], values)).fetchone()
        if kept is not None and kept["request_hash"] != request_hash:
            raise PermanentError(
                ErrorCode.IDEMPOTENCY_MISMATCH,
                "this Idempotency-Key was used with another request; take a new one",
            )
        if kept is None or kept["status"] is None:
            raise TransientError(
                ErrorCode.REQUEST_UNDER_WAY, "the first call with this Idempotency-Key has no answer yet"
            )
        answer = kept["answer"]
        return KeptAnswer(status=kept["status"], body=answer["body"], headers=answer["headers"])

    return await db.run(claim)


async def forget_keys(db: Database, *, kept_seconds: float) -> int:
    """Remove the keys that are too old to be honoured; how many.

    Raises: as `Database.run`.
    """

    async def forget(connection: Connection) -> int:
        return (await connection.execute(_STATEMENTS["forget"], {"kept_seconds": kept_seconds})).rowcount

    return await db.run(forget)
