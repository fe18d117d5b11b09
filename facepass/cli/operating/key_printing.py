"""The work and the output of `facepass keys`. A key is printed once, when it is made."""

from collections.abc import Collection
from datetime import timedelta

from facepass.schemas.callers import Scope
from facepass.schemas.settings import DatabaseSettings, read_settings
from facepass.storage import open_database
from facepass.storage.callers import ApiKey, NewKey, create_key, read_keys, revoke_key, rotate_key


async def print_new_key(name: str, scopes: Collection[Scope]) -> None:
    """Make a key and print it; raises `database_unavailable`."""
    async with open_database(read_settings(DatabaseSettings)) as db:
        _print_made(await create_key(db, name, scopes))


async def list_keys() -> None:
    """Print a line for every key, under a head; raises `database_unavailable`."""
    async with open_database(read_settings(DatabaseSettings)) as db:
        keys = await read_keys(db)
    rows: list[tuple[str, ...]] = [("id", "state", "scopes", "made", "last used", "ends", "name")]
    rows += [_row(key) for key in keys]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


async def end_key(key_id: str) -> None:
    """Revoke a key.

    Raises:
        FacePassError: `key_not_found`, `database_unavailable`.
    """
    async with open_database(read_settings(DatabaseSettings)) as db:
        await revoke_key(db, key_id)
    print(f"{key_id} is revoked")


async def replace_key(key_id: str, grace: timedelta) -> None:
    """Make and print a new key in the place of one that goes on for `grace`.

    Raises:
        FacePassError: `key_not_found`, `database_unavailable`.
    """
    async with open_database(read_settings(DatabaseSettings)) as db:
        _print_made(await rotate_key(db, key_id, grace))
    print(f"{key_id} goes on for {grace / timedelta(hours=1):g} hours")


def _print_made(made: NewKey) -> None:
    print(f"key id  {made.key_id}")
    print(f"api key {made.key}")


def _row(key: ApiKey) -> tuple[str, ...]:
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
