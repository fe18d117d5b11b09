"""The commands `facepass sessions`: what became of a session's photos, its deletion, the link for its guests."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from facepass.schemas.ids import PhotoId, SessionId, check_id

sessions = typer.Typer(help="What became of a session's photos; its deletion.", no_args_is_help=True)

SessionArgument = Annotated[str, typer.Argument(help="The session's id.", metavar="SESSION")]


@sessions.command("show")
def show_session(session_id: SessionArgument) -> None:
    """Print a session's ledger, and the photos that failed or wait, with the reasons."""
    from facepass.cli.operating import show_session as run

    asyncio.run(run(SessionId(check_id(session_id, "session"))))


@sessions.command("delete")
def delete_session(
    session_id: SessionArgument,
    *,
    photo: Annotated[str | None, typer.Option(help="Delete this photo alone.")] = None,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for intake.")] = 30.0,
) -> None:
    """Delete a session or a photo for good: publish the event, wait for every serving process, print a receipt.

    Status 1 when it could not be acknowledged in time; the deletion itself then stands or follows.
    """
    from facepass.cli.operating import delete_and_wait, print_receipt
    from facepass.use_cases import Target

    target = Target(
        session_id=SessionId(check_id(session_id, "session")),
        photo_id=None if photo is None else PhotoId(check_id(photo, "--photo")),
    )
    receipt = asyncio.run(delete_and_wait(target, patience=patience))
    print_receipt(receipt)
    if receipt.acknowledged_at is None:
        raise typer.Exit(1)


@sessions.command("link")
def link_session(
    session_id: SessionArgument,
    *,
    days: Annotated[float, typer.Option(min=0.001, max=3650, help="How long the link's token works.")] = 30.0,
    qr: Annotated[Path | None, typer.Option(help="Write the QR code to this file, .png or .svg.")] = None,
) -> None:
    """Print the link for a session's guests, at FACEPASS_PUBLIC_URL, with a token that expires."""
    from facepass.cli.operating import print_link

    print_link(SessionId(check_id(session_id, "session")), timedelta(days=days), qr)
