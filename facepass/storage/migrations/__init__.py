"""Bringing a database to the tables that this version of FacePass works with: Alembic, plain SQL inside."""

from importlib.resources import files

import psycopg
from alembic import command, op
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from facepass.schemas.settings import DatabaseSettings
from facepass.storage.database import translate

__all__ = ["ADVISORY_LOCK", "HEAD", "VERSION_TABLE", "migrate", "run_file"]

HEAD = "0002"
"""The newest migration: what this version of FacePass works with."""

VERSION_TABLE = "facepass_migration"
"""Alembic's own table, under a name that does not collide with another application's."""

ADVISORY_LOCK = 0x66616365_70617373
"""Held while the tables are changed ("facepass" in ASCII)."""


def migrate(settings: DatabaseSettings, revision: str = "head") -> None:
    """Upgrade or downgrade the database to `revision` ("head", "base" or a migration's number).

    Creates the extension `vector` if it is missing, which the role must be allowed to do.

    Raises:
        TransientError: `database_unavailable`.
        FacePassError: `internal`, with PostgreSQL's primary message (for example a missing privilege).
    """
    uri = settings.database.get_secret_value()
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(uri), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", "facepass:storage/migrations")
    step = command.downgrade if revision == "base" else command.upgrade
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            # Alembic runs `env.py` beside this file, which calls `upgrade` or `downgrade` of files in `versions/`.
            step(config, revision)
    except DBAPIError as exc:
        original = exc.orig
        if not isinstance(original, psycopg.Error):
            raise
        raise translate(original) from None
    except psycopg.Error as exc:
        raise translate(exc) from None


def run_file(name: str) -> None:
    """Run one SQL file of `versions/` on the migration's connection."""
    text = (files("facepass.storage.migrations") / "versions" / name).read_text("utf-8")
    # The driver's own cursor without parameters sends several statements in one go.
    cursor = op.get_bind().connection.cursor()
    try:
        cursor.execute(text)
    finally:
        cursor.close()
