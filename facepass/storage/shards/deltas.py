"""Reading what a shard holds from PostgreSQL: what changed after a revision.

Everything that one shard takes over must be read in one transaction with one snapshot, or rows get the label of
another revision.
"""

from collections.abc import Mapping
from itertools import count

from psycopg.abc import Buffer
from psycopg.pq.abc import PGconn
from psycopg.rows import dict_row

from facepass.schemas.ids import SessionId
from facepass.storage.database import Connection
from facepass.storage.generations import Generation
from facepass.storage.shards.face_blocks import (
    COPY_HEADER_BYTES,
    COPY_TRAILER_BYTES,
    FaceBlock,
    PhotoHashes,
    check_copy_header,
    decode_faces,
    photo_hashes,
)
from facepass.storage.shards.photo_ids import PhotoIds, photo_ids_from_text
from facepass.storage.shards.shard import Delta
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("shards")

_BLOCK_FACES = 1024
"""Faces decoded at once: about 1 MB of 512 floats, which stays in the processor's cache."""


async def read_delta(
    connection: Connection, generation: Generation, session_id: SessionId, *, since: int, revision: int
) -> Delta:
    """The changes after `since`; all there is, if that is 0.

    Args:
        revision: of the session, read in the same transaction.
    """
    for seed in count():
        values = {"generation": generation.number, "session": session_id, "since": since, "seed": seed}
        photos, hashes = await _read_changed(connection, values)
        if hashes.distinct:
            break
    blocks = await _read_faces(connection, values, generation.spec.vector_size, hashes) if len(photos) else []
    return Delta(since=since, revision=revision, photos=photos, blocks=blocks)


async def _read_changed(connection: Connection, values: Mapping[str, object]) -> tuple[PhotoIds, PhotoHashes]:
    cursor = connection.cursor(binary=True, row_factory=dict_row)
    row = await (await cursor.execute(_STATEMENTS["changed"], values)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate gives one row
    return photo_ids_from_text(row["ids"] or b""), photo_hashes(row["hashes"] or b"")


async def _read_faces(
    connection: Connection, values: Mapping[str, object], vector_size: int, photos: PhotoHashes
) -> list[FaceBlock]:
    blocks: list[FaceBlock] = []
    rows: list[Buffer] = []
    skip = COPY_HEADER_BYTES
    async with connection.cursor() as cursor, cursor.copy(_STATEMENTS["faces"], values) as copy:
        async for message in copy:
            if skip:
                check_copy_header(message)
            rows.append(message[skip:])
            skip = 0
            _take_buffered(connection.pgconn, rows)
            if len(rows) >= _BLOCK_FACES:
                blocks.append(_decode(rows, vector_size, photos))
    return [*blocks, _decode(rows, vector_size, photos)]


def _take_buffered(pgconn: PGconn, rows: list[Buffer]) -> None:
    """Take what libpq has received already. A turn of the event loop for every row would cost more than the row.

    Stops at the trailer: what follows it, the end of the COPY, is for the driver to read.
    """
    while len(rows[-1]) != COPY_TRAILER_BYTES:
        received, row = pgconn.get_copy_data(1)
        if received <= 0:
            return
        rows.append(row)


def _decode(rows: list[Buffer], vector_size: int, photos: PhotoHashes) -> FaceBlock:
    """Decode and clear `rows`; the trailer, and what is left of the header's message, are no rows."""
    block = decode_faces(b"".join(row for row in rows if len(row) > COPY_TRAILER_BYTES), vector_size, photos)
    rows.clear()
    return block
