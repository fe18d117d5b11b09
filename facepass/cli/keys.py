"""`facepass keys`: API keys made, listed, revoked, rotated. A key is printed once, when it is made."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from facepass.schemas.callers import Scope
from facepass.schemas.settings import DatabaseSettings, read_settings

if TYPE_CHECKING:
    from facepass.storage import Database
    from facepass.storage.callers import ApiKey, NewKey

keys = typer.Typer(help="API keys of the HTTP API: who may index, delete and read.", no_args_is_help=True)

KeyArgument = Annotated[str, typer.Argument(help="The key's id, as `list` prints it.", metavar="ID")]

T = TypeVar("T")

DEFAULT_SCOPES = (Scope.INDEX,)
"""What Pixora's client needs."""


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, for people.", metavar="NAME")],
    *,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may be used for; may be repeated. Default: index. admin is everything."),
    ] = None,
) -> None:
    """Make a key and print it, this once: only its hash is kept. It works at once."""
    from facepass.storage.callers import create_key

    _show(_run(lambda db: create_key(db, name, scope or DEFAULT_SCOPES)))


@keys.command("list")
def list_keys() -> None:
    """Print every key: id, state, scopes, when it was made, last used, when it ends or ended, name."""
    from facepass.storage.callers import read_keys

    rows: list[tuple[str, ...]] = [("id", "state", "scopes", "made", "last used", "ends", "name")]
    rows += [_row(key) for key in _run(read_keys)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


@keys.command("revoke")
def revoke(key_id: KeyArgument) -> None:
    """Make a key useless for good. Every serving process refuses it within two seconds."""
    from facepass.storage.callers import revoke_key

    _run(lambda db: revoke_key(db, key_id))
    print(f"{key_id} is revoked")


@keys.command("rotate")
def rotate(
    key_id: KeyArgument,
    *,
    grace_hours: Annotated[
        float, typer.Option(min=0, max=24 * 365, help="How long the old key goes on working.")
    ] = 24.0,
) -> None:
    """Make a new key of the same name and scopes and print it, this once; the old one goes on for a while."""
    from facepass.storage.callers import rotate_key

    _show(_run(lambda db: rotate_key(db, key_id, timedelta(hours=grace_hours))))
    print(f"{key_id} goes on for {grace_hours:g} hours")


def _run(work: "Callable[[Database], Awaitable[T]]") -> T:
    from facepass.storage import open_database

    async def opened() -> T:
        async with open_database(read_settings(DatabaseSettings)) as db:
            return await work(db)

    return asyncio.run(opened())


def _show(made: "NewKey") -> None:
    print(f"key id  {made.key_id}")
    print(f"api key {made.key}")


def _row(key: "ApiKey") -> tuple[str, ...]:
    ends = key.revoked_at or key.expires_at
    return (
        key.key_id,
        key.state,
        ",".join(sorted(key.scopes)),
        key.created_at.isoformat(timespec="seconds"),
        key.last_used_at.isoformat(timespec="minutes") if key.last_used_at else "never",
        ends.isoformat(timespec="seconds") if ends else "-",
        key.name,
    )
