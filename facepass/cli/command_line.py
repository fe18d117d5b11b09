"""The command `facepass`: its groups put together, its failures told in one line."""

import logging
import sys
from typing import Annotated

import typer

from facepass import __version__
from facepass.cli import commands
from facepass.cli.exit_statuses import exit_status
from facepass.cli.unknown_settings import unknown_settings
from facepass.schemas.error_table import ERROR_TABLE
from facepass.schemas.errors import FacePassError
from facepass.schemas.settings import env_example

app = typer.Typer(
    help="Self-hosted face search for event photography: a selfie finds its photos.",
    epilog="Settings are environment variables: see `facepass settings`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line: a failure of ours becomes one line on standard error and its exit status."""
    # The libraries' own words stay out of the way of ours, until a long-running command sets up its logs.
    logging.getLogger().addHandler(logging.NullHandler())
    for line in unknown_settings():
        print(f"facepass: warning: {line}", file=sys.stderr)
    try:
        app()
    except FacePassError as error:
        entry = ERROR_TABLE.get(error.code)
        advice = f" {entry.command_line}" if entry and entry.command_line else ""
        print(f"facepass: {error.message} [{error.code}]{advice}", file=sys.stderr)
        sys.exit(exit_status(error))


def settings() -> None:
    """Print every setting with its default, as .env.example has them."""
    print(env_example(), end="")


# Typer calls it before every command, and alone for `facepass --version`.
@app.callback(invoke_without_command=True)
def _version(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def _put_together() -> None:
    """Put the commands together: `facepass --help` lists single commands first, then groups, in this order."""
    commands.add_bench(app)
    for command in (commands.verify, settings, commands.migrate, commands.prepare):
        app.command()(command)
    for process in (commands.intake, commands.ingest, commands.serve):
        app.command()(process)
    for other in (commands.dev, commands.demo, commands.doctor):
        app.command()(other)
    app.add_typer(commands.topics, name="topics")
    app.add_typer(commands.sessions, name="sessions")
    app.add_typer(commands.dead_letters, name="dead-letters")
    app.add_typer(commands.keys, name="keys")


_put_together()
