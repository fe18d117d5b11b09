"""The command `facepass`. Each sub-command reads its settings, opens the parts and runs one function.

The parts are imported inside the commands: `facepass --help` and a mistyped option answer at once.
"""

import asyncio
import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from bench import bench
from facepass import __version__
from facepass.cli.dead_letters import dead_letters
from facepass.cli.exit_statuses import exit_status
from facepass.cli.keys import keys
from facepass.cli.unknown_settings import unknown_settings
from facepass.cli.verify import verify
from facepass.local import KafkaKind
from facepass.schemas.error_table import ERROR_TABLE
from facepass.schemas.errors import FacePassError
from facepass.schemas.ids import PhotoId, SessionId, check_id
from facepass.schemas.logs import set_up_logs
from facepass.schemas.settings import (
    DatabaseSettings,
    KafkaSettings,
    LogSettings,
    ModelSettings,
    env_example,
    read_settings,
)

app = typer.Typer(
    help="Self-hosted face search for event photography: a selfie finds its photos.",
    epilog="Settings are environment variables: see `facepass settings`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics = typer.Typer(help="Kafka's topics.", no_args_is_help=True)
app.add_typer(topics, name="topics")
sessions = typer.Typer(help="What became of a session's photos; its deletion.", no_args_is_help=True)
app.add_typer(sessions, name="sessions")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(keys, name="keys")
app.command()(bench)
app.command()(verify)

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the HTTP API.")]
SessionArgument = Annotated[str, typer.Argument(help="The session's id.", metavar="SESSION")]
Kafka = Annotated[
    KafkaKind, typer.Option(help="Broker: embedded, or Apache Kafka, which needs Java 17 and Maven.")
]
MetricsPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port for /metrics, /health and /ready; 0 takes a free one.")
]


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
        hint = f" {entry.hint}" if entry and entry.hint else ""
        print(f"facepass: {error.message} [{error.code}]{hint}", file=sys.stderr)
        sys.exit(exit_status(error))


@app.callback(invoke_without_command=True)
def _version(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def settings() -> None:
    """Print every setting with its default, as .env.example has them."""
    print(env_example(), end="")


@app.command()
def migrate(
    revision: Annotated[str, typer.Argument(help="`head`, `base`, or a migration's number.")] = "head",
) -> None:
    """Bring the database (FACEPASS_DATABASE) to this version's tables. `base` removes all of FacePass's data."""
    from facepass.storage.migrations import migrate as run

    run(read_settings(DatabaseSettings), revision)
    print(f"the database is at {revision}")


@topics.command("create")
def create_topics() -> None:
    """Create the topics that are missing in Kafka (FACEPASS_KAFKA); report those that exist and differ."""
    from facepass.streams.kafka import create_topics as run

    differences = asyncio.run(run(read_settings(KafkaSettings)))
    for line in differences:
        print(f"differs, left as it is: {line}")
    print("all topics are there")


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


@app.command()
def prepare() -> None:
    """Prepare the model pack (FACEPASS_MODEL) in the cache; otherwise the first start of a process does it."""
    from facepass.embedding import open_engine

    engine = open_engine(read_settings(ModelSettings))
    print(f"model pack {engine.spec.pack} is ready, on {engine.runtime}, {engine.threads} threads")


@app.command()
def intake(*, metrics_port: MetricsPort = None) -> None:
    """Register photos from Kafka as pending, and carry out deletions and session updates.

    Status 0 after SIGTERM or SIGINT; 3 when too many events could not be used (FACEPASS_DEAD_LETTERS_IN_A_ROW,
    FACEPASS_DEAD_LETTERS_PER_MINUTE): look before you start it again; 4 when the watchdog found that it takes no
    events (FACEPASS_WATCHDOG_SECONDS): start it again; 1 for everything else.
    """
    from facepass.cli.running import intake as run
    from facepass.cli.running import run_worker

    _set_up_logs()
    run_worker(run(metrics_port))


@app.command()
def ingest(*, metrics_port: MetricsPort = None) -> None:
    """Find the faces of the photos that Kafka announces, and write them to PostgreSQL.

    Exit statuses as those of `facepass intake`.
    """
    from facepass.cli.running import ingest as run
    from facepass.cli.running import run_worker

    _set_up_logs()
    run_worker(run(metrics_port))


@app.command()
def serve(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    control_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port on 127.0.0.1 for `facepass verify --replica`; 0 takes a free one. Off by default.",
        ),
    ] = None,
) -> None:
    """Answer searches over HTTP from shards in memory, kept up to date from PostgreSQL and Kafka."""
    from facepass.cli.running import run_worker
    from facepass.cli.running import serve as run

    _set_up_logs()
    run_worker(run(host, port, control_port=control_port))


@app.command()
def dev(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    kafka: Kafka = KafkaKind.EMBEDDED,
    kafka_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the broker.")] = 9092,
    data_dir: Annotated[Path, typer.Option(help="Keeps all data and the logs; made when it is not there.")] = Path(
        "facepass-data"
    ),
    photos: Annotated[
        str, typer.Option(help="Where the photos are: a directory, or s3://bucket/prefix.")
    ] = "photos",
) -> None:
    """Run everything with embedded parts in the foreground, until Ctrl-C. Prints `ready URL` when it is.

    PostgreSQL is kept in the data directory. The embedded broker keeps its topics in memory only: after a restart
    what was indexed is still found, what was still waiting in Kafka is gone. Apache Kafka (--kafka apache; needs
    Java 17 and Maven) keeps them in the data directory.
    """
    from facepass.local import StackOptions, run_dev

    run_dev(
        StackOptions(host=host, port=port, kafka_port=kafka_port, data_dir=data_dir, photos=photos, kind=kafka)
    )


@app.command()
def demo(
    *,
    photos: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Your own photos instead of the samples.")
    ] = None,
    selfie: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A selfie to search them with; may be repeated."),
    ] = None,
    output: Annotated[Path, typer.Option(help="The contact sheet.")] = Path("demo-result.png"),
    kafka: Kafka = KafkaKind.EMBEDDED,
    leave: Annotated[bool, typer.Option("--exit", help="End after the result instead of staying up.")] = False,
) -> None:
    """Show the main job: index photos from Kafka, search with selfies, print the matches, draw a contact sheet.

    Everything runs on this machine in a temporary directory, which is removed at the end. Status 1 when a selfie
    does not find exactly the photos that it must find.
    """
    from facepass.local.demo import run_demo

    if (photos is None) != (not selfie):
        raise typer.BadParameter("--photos and --selfie belong together: give both, or neither for the samples")
    raise typer.Exit(run_demo(photos=photos, selfies=selfie or [], output=output, kafka=kafka, stay=not leave))


@app.command()
def doctor() -> None:
    """Say what is missing or wrong on this machine and how to mend it. Status 1 when something needed is."""
    from facepass.cli.operating import run_doctor

    if not run_doctor():
        raise typer.Exit(1)


def _set_up_logs() -> None:
    set_up_logs(read_settings(LogSettings))


if __name__ == "__main__":
    main()
