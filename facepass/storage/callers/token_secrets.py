"""The secret that signs guests' tokens. One for all replicas; deleting its row ends every token ever given."""

import secrets

from psycopg.rows import scalar_row

from facepass.storage.database import Connection, Database
from facepass.storage.statements import load_statements

SECRET_BYTES = 32
"""As long as the hash of the signature (HS256); the table's check has the same."""

_STATEMENTS = load_statements("token_secrets")


async def read_secret(db: Database) -> bytes:
    """The secret, made now if there is none yet. Two who make it at once get the same one.

    Raises: as `Database.transaction`.
    """

    async def work(connection: Connection) -> bytes | None:
        cursor = connection.cursor(row_factory=scalar_row)
        secret: bytes | None = await (await cursor.execute(_STATEMENTS["read"])).fetchone()
        return secret

    while (secret := await db.run(work)) is None:
        await db.run(_make)
    return secret


async def _make(connection: Connection) -> None:
    await connection.execute(_STATEMENTS["make"], {"secret": secrets.token_bytes(SECRET_BYTES)})
