"""The command `facepass verify`: what is compared, and with whom."""

import asyncio
from typing import Annotated

import typer

from facepass.schemas.ids import SessionId, check_id


def verify(
    *,
    replica: Annotated[
        list[str] | None,
        typer.Option(help="A serving process's control port, http://127.0.0.1:PORT; may be repeated."),
    ] = None,
    session: Annotated[str | None, typer.Option(help="Compare this session alone.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Reload every shard that differs.")] = False,
    patience: Annotated[
        float, typer.Option(min=5, help="Seconds to wait for intake, and for a shard that is behind.")
    ] = 30.0,
) -> None:
    """Compare topics, ledger, rows and the shards of running replicas; print every difference in one line.

    Changes nothing, --repair aside, and may run while the system works: a difference counts only if it is there
    again at a second look. Status 1 when there is any, also when it was repaired.
    """
    from facepass.cli.verifying import run_verify

    only = None if session is None else SessionId(check_id(session, "--session"))
    if asyncio.run(run_verify(replica or [], only, repair=repair, patience=patience)):
        raise typer.Exit(1)
