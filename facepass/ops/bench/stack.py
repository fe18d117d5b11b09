"""The database server that a benchmark runs on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from pydantic import SecretStr

from facepass.ops.local.postgres import DATABASE, embedded_postgres
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.migrations import migrate


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What is running, and where.

    Attributes:
        directory: for data and logs; removed at the end.
        postgres: URI of the server's database `facepass`.
    """

    directory: Path
    postgres: str

    def new_database(self, name: str) -> DatabaseSettings:
        """Make another database on the server, migrated and empty."""
        with psycopg.connect(self.postgres, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        settings = DatabaseSettings(database=SecretStr(self.postgres.replace(f"/{DATABASE}?", f"/{name}?")))
        migrate(settings)
        return settings


@contextmanager
def open_stack(directory: Path) -> Iterator[Stack]:
    """Run PostgreSQL, as durable as in production, for the time of the context."""
    log = directory / "postgres.log"
    with embedded_postgres(directory / "postgres", log=log) as uri:
        yield Stack(directory=directory, postgres=uri)
