"""The sub-command `facepass bench`. What it runs is imported when it runs: `facepass --help` answers at once."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console


class Subject(StrEnum):
    """A subject that can be measured by itself."""

    INGEST = "ingest"
    SEARCH = "search"
    SHARD = "shard"
    STREAMS = "streams"
    HTTP = "http"


def bench(
    subjects: Annotated[list[Subject] | None, typer.Argument(help="What to measure; default: everything.")] = None,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, to see that it runs: the figures mean nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a row on standard output.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The table for a document.")] = False,
    photos: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Photos to ingest; default: made from the demo's sample photos."
        ),
    ] = None,
    kafka: Annotated[
        Literal["embedded", "apache"],
        typer.Option(help="Broker: embedded, or Apache Kafka, which needs Java 17 and Maven."),
    ] = "embedded",
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 when a goal is missed.")] = False,
) -> None:
    """Measure FacePass beside the bare libraries that it is made of, in the same run.

    Everything runs on this machine with embedded parts, in a temporary directory. Close other programs first: ours
    and bare take turns, so noise hits both, but a busy machine still blurs the ratios. The published sizes take
    about half an hour on 2 cores.
    """
    from facepass.local import KafkaKind, check_extra, check_kind

    check_extra("facepass bench")
    from bench.measuring import measure  # needs the extra
    from bench.report import print_table, to_markdown, wide_console
    from bench.sizes import PUBLISHED, QUICK

    kind, sizes = KafkaKind(kafka), QUICK if quick else PUBLISHED
    messages = wide_console(stderr=True)
    _print_head(messages, quick=quick)
    check_kind(kind, "--kafka")
    rows = []
    for row in measure(subjects or list(Subject), sizes, photos, kind, lambda what: messages.print(f"... {what}")):
        rows.append(row)
        if json:
            print(row.to_json(), flush=True)
    if markdown:
        print(to_markdown(rows))
    elif not json:
        print_table(rows, wide_console())
    if strict and any(row.met is False for row in rows):
        raise typer.Exit(1)


def _print_head(messages: "Console", *, quick: bool) -> None:
    from bench.machine import describe_machine, disturbance, versions

    messages.print(describe_machine(), highlight=False)
    messages.print(", ".join(f"{name} {number}" for name, number in versions().items()), highlight=False)
    if warning := disturbance():
        messages.print(warning, style="yellow", highlight=False)
    if quick:
        messages.print("--quick: these figures show that everything runs, and nothing else", style="yellow")
