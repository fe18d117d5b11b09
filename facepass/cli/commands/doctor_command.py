"""The command `facepass doctor`: what is missing or wrong on this machine."""

import typer


def doctor() -> None:
    """Say what is missing or wrong on this machine and how to mend it. Status 1 when something needed is."""
    from facepass.cli.operating import run_doctor

    if not run_doctor():
        raise typer.Exit(1)
