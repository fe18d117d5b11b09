"""Generations: which model pack and settings the stored vectors were made with."""

from dataclasses import dataclass

from psycopg.rows import dict_row, scalar_row
from psycopg.sql import SQL, Identifier, Literal
from psycopg.types.json import Jsonb

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.faces import GenerationSpec
from facepass.storage.database import Connection, Database
from facepass.storage.migrations import ADVISORY_LOCK, HEAD
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("generations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A generation in the database. `number` is its key there, `spec` what this process works with."""

    number: int
    spec: GenerationSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One generation of a database: what every read and write of photos, faces and counters goes by."""

    database: Database
    generation: Generation


async def open_store(db: Database, spec: GenerationSpec) -> Store:
    """The active generation, if it was made with `spec`; made, with its partitions, if there is none.

    Safe when several processes start at once.

    Raises:
        PermanentError: `not_migrated`: tables missing, or of another version; `generation_mismatch`: the stored
            vectors were made by another model or with other settings, which must never meet `spec`'s.
        TransientError: `database_unavailable`.
    """
    number = await db.run(lambda connection: _open(connection, spec))
    return Store(database=db, generation=Generation(number=number, spec=spec))


async def find_store(db: Database, spec: GenerationSpec) -> Store | None:
    """The active generation; None if there is none yet. Only reads; raises as `open_store`."""
    async with db.transaction(snapshot=True) as connection:
        await _check_migration(connection)
        number = await _find(connection, spec)
    return None if number is None else Store(database=db, generation=Generation(number=number, spec=spec))


async def _open(connection: Connection, spec: GenerationSpec) -> int:
    await _check_migration(connection)
    number = await _find(connection, spec)
    if number is None:
        await connection.execute(_STATEMENTS["lock"], (ADVISORY_LOCK,))
        number = await _find(connection, spec)
    if number is None:
        number = await _create(connection, spec)
    return number


async def _check_migration(connection: Connection) -> None:
    cursor = connection.cursor(row_factory=scalar_row)
    found: str = await (await cursor.execute(_STATEMENTS["migration"])).fetchone() or "none"
    if found != HEAD:
        raise PermanentError(
            ErrorCode.NOT_MIGRATED,
            f"the database is at migration {found}, this version of FacePass works with {HEAD};"
            " run `facepass migrate` with the newer version",
            found=found,
            expected=HEAD,
        )


async def _find(connection: Connection, spec: GenerationSpec) -> int | None:
    """The number of the active generation, None if there is none."""
    cursor = connection.cursor(row_factory=dict_row)
    row = await (await cursor.execute(_STATEMENTS["active"])).fetchone()
    if row is None:
        return None
    pack, size, fingerprint = row["pack"], row["vector_size"], row["fingerprint"]
    wanted = dict(spec.fingerprint)
    if size != spec.vector_size or fingerprint != wanted:
        differing = sorted(
            key for key in fingerprint.keys() | wanted.keys() if fingerprint.get(key) != wanted.get(key)
        )
        raise PermanentError(
            ErrorCode.GENERATION_MISMATCH,
            f"the database's vectors were made with the model pack {pack!r} ({size} floats) and other settings"
            f" (different: {', '.join(differing) or 'vector size'}); use those, or another database",
            generation=row["generation"],
        )
    return int(row["generation"])


async def _create(connection: Connection, spec: GenerationSpec) -> int:
    values = (spec.pack, spec.vector_size, spec.operating_point, Jsonb(dict(spec.fingerprint)))
    cursor = connection.cursor(row_factory=scalar_row)
    number: int | None = await (await cursor.execute(_STATEMENTS["create"], values)).fetchone()
    assert number is not None  # noqa: S101 - INSERT ... RETURNING gives one row
    parts = {
        "results": Identifier(f"photo_results_{number}"),
        "faces": Identifier(f"face_embeddings_{number}"),
        "check": Identifier(f"face_embeddings_{number}_size"),
        "size": Literal(spec.vector_size),
        "generation": Literal(number),
    }
    for name in ("create_results", "create_faces", "keep_inline"):
        await connection.execute(SQL(_STATEMENTS[name]).format(**parts))
    return number
