"""Taking up photos that are pending for too long: after failures of the photo store, or after a lost event."""

from facepass.schemas.ledger import Origin, PhotoEvent
from facepass.storage.database import Connection, Database
from facepass.storage.generations import Generation
from facepass.storage.writes.rows import STATEMENTS

CLAIM_SECONDS = 600.0
"""How long a claimed photo is left to the process that claimed it: far longer than a batch takes, and short enough
that a photo whose process died is not forgotten."""


async def claim_overdue(db: Database, generation: Generation, limit: int) -> list[PhotoEvent]:
    """Claim the `limit` pending photos that are longest overdue, in no order, by their stored key.

    What comes of them goes through `save_photos`, which also ends a photo as failed once it has been tried for too
    long. Several processes may claim at once: each photo goes to one.

    Raises: as `Database.run`.
    """
    return await db.run(lambda connection: _claim(connection, generation.number, limit))


async def _claim(connection: Connection, generation: int, limit: int) -> list[PhotoEvent]:
    cursor = await connection.execute(
        STATEMENTS["claim_overdue"], {"generation": generation, "limit": limit, "seconds": CLAIM_SECONDS}
    )
    return [
        PhotoEvent(
            session_id=session_id,
            photo_id=photo_id,
            s3_key=s3_key,
            occurred_at=occurred_at,
            occurred_at_given=True,
            origin=Origin(topic=topic, partition=partition, offset=offset),
        )
        for session_id, photo_id, s3_key, occurred_at, topic, partition, offset in await cursor.fetchall()
    ]
