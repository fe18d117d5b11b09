"""The commands `facepass intake`, `ingest` and `serve`: the three processes, each with its logs set up first."""

from typing import Annotated

import typer

from facepass.schemas.settings import LogSettings, read_settings

MetricsPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port for /metrics, /health and /ready; 0 takes a free one.")
]


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


def ingest(*, metrics_port: MetricsPort = None) -> None:
    """Find the faces of the photos that Kafka announces, and write them to PostgreSQL.

    Exit statuses as those of `facepass intake`.
    """
    from facepass.cli.running import ingest as run
    from facepass.cli.running import run_worker

    _set_up_logs()
    run_worker(run(metrics_port))


def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the HTTP API.")] = 8000,
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


def _set_up_logs() -> None:
    from facepass.schemas.logs import set_up_logs

    set_up_logs(read_settings(LogSettings))
