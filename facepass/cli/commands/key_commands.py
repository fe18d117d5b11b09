"""The commands `facepass keys`: API keys made, listed, revoked, rotated."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from facepass.schemas.callers import Scope

keys = typer.Typer(help="API keys of the HTTP API: who may index, delete and read.", no_args_is_help=True)

KeyArgument = Annotated[str, typer.Argument(help="The key's id, as `list` prints it.", metavar="ID")]

DEFAULT_SCOPES = (Scope.INDEX,)
"""What Pixora's client needs."""


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is, for people.", metavar="NAME")],
    *,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may be used for; may be repeated. Default: index. admin is everything."),
    ] = None,
) -> None:
    """Make a key and print it, this once: only its hash is kept. It works at once."""
    from facepass.cli.operating import print_new_key

    asyncio.run(print_new_key(name, scope or DEFAULT_SCOPES))


@keys.command("list")
def list_keys() -> None:
    """Print every key: id, state, scopes, when it was made, last used, when it ends or ended, name."""
    from facepass.cli.operating import list_keys as run

    asyncio.run(run())


@keys.command("revoke")
def revoke_key(key_id: KeyArgument) -> None:
    """Make a key useless for good. Every serving process refuses it within two seconds."""
    from facepass.cli.operating import end_key

    asyncio.run(end_key(key_id))


@keys.command("rotate")
def rotate_key(
    key_id: KeyArgument,
    *,
    grace_hours: Annotated[
        float, typer.Option(min=0, max=24 * 365, help="How long the old key goes on working.")
    ] = 24.0,
) -> None:
    """Make a new key of the same name and scopes and print it, this once; the old one goes on for a while."""
    from facepass.cli.operating import replace_key

    asyncio.run(replace_key(key_id, timedelta(hours=grace_hours)))
