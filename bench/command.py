"""The sub-command `facepass bench`."""

from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from bench.machine import describe_machine, disturbance, versions
from bench.report import print_table, to_markdown, wide_console
from bench.row import Row
from bench.sizes import PUBLISHED, QUICK, Sizes
from facepass.local import KafkaKind, check_kind
from facepass.schemas.settings import ModelSettings, read_settings


class Part(StrEnum):
    """What can be measured by itself."""

    INGEST = "ingest"
    SEARCH = "search"
    SHARD = "shard"
    STREAMS = "streams"
    HTTP = "http"


def bench(
    parts: Annotated[list[Part] | None, typer.Argument(help="What to measure; default: everything.")] = None,
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
        KafkaKind, typer.Option(help="Broker: embedded, or Apache Kafka, which needs Java 17 and Maven.")
    ] = KafkaKind.EMBEDDED,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 when a goal is missed.")] = False,
) -> None:
    """Measure FacePass beside the bare libraries that it is made of, in the same run.

    Everything runs on this machine with embedded parts, in a temporary directory. Close other programs first: ours
    and bare take turns, so noise hits both, but a busy machine still blurs the ratios. The published sizes take
    about half an hour on 2 cores.
    """
    messages = wide_console(stderr=True)
    rows = []
    _print_head(messages, quick=quick)
    sizes = QUICK if quick else PUBLISHED
    check_kind(kafka, "--kafka")
    for row in _measure(parts or list(Part), sizes, photos, kafka, lambda what: messages.print(f"... {what}")):
        rows.append(row)
        if json:
            print(row.to_json(), flush=True)
    if markdown:
        print(to_markdown(rows))
    elif not json:
        print_table(rows, wide_console())
    if strict and any(row.met is False for row in rows):
        raise typer.Exit(1)


def _measure(
    parts: Collection[Part], sizes: Sizes, own: Path | None, kafka: KafkaKind, tell: Callable[[str], None]
) -> Iterator[Row]:
    """Rows as they come. What only a benchmark needs is imported here: the command line starts faster without."""
    from bench.rows import shard_rows  # noqa: PLC0415

    with TemporaryDirectory(prefix="facepass-bench-") as made:
        if Part.SHARD in parts:
            tell("shards: searched, loaded, weighed")
            yield from shard_rows(Path(made) / "shards", sizes)
        if {Part.STREAMS, Part.INGEST, Part.HTTP, Part.SEARCH} & set(parts):
            yield from _measure_streams(parts, sizes, own=own, kafka=kafka, directory=Path(made), tell=tell)


def _measure_streams(
    parts: Collection[Part],
    sizes: Sizes,
    *,
    own: Path | None,
    kafka: KafkaKind,
    directory: Path,
    tell: Callable[[str], None],
) -> Iterator[Row]:
    from bench.photo_sets import make_photos, own_photos  # noqa: PLC0415
    from bench.rows import (  # noqa: PLC0415
        http_rows,
        ingest_rows,
        intake_rows,
        recovery_rows,
        search_rows,
        searchable_rows,
    )
    from bench.site import open_site  # noqa: PLC0415
    from facepass.embedding import open_engine  # noqa: PLC0415

    model, count = read_settings(ModelSettings), sizes.ingest_photos
    if Part.STREAMS in parts:
        tell("intake, beside a bare reader")
        yield from intake_rows(directory / "intake", kafka, model, sizes)
    tell("model pack and photos")
    engine = open_engine(model, isolated=False)  # bare decodes where it detects
    photos = own_photos(own.resolve(), count) if own else make_photos(directory / "photos", count)
    if Part.STREAMS in parts:
        with open_site(
            directory / "streams", kafka, model=model, engine=engine, photos=photos, report=tell
        ) as site:
            tell("one photo, from its event to an answer")
            yield from searchable_rows(site, sizes)
            tell("serve killed and started again")
            yield from recovery_rows(site, sizes)
    if not {Part.INGEST, Part.HTTP, Part.SEARCH} & set(parts):
        return
    with open_site(directory / "site", kafka, model=model, engine=engine, photos=photos, report=tell) as site:
        if Part.INGEST in parts:
            tell("ingest, beside the bare engine and the peers' loop")
            yield from ingest_rows(site, sizes)
        if Part.HTTP in parts:
            tell("searches by several clients, what HTTP adds, a batch of photos")
            yield from http_rows(site, sizes)
        if Part.SEARCH in parts:  # last: it leaves ingest with photos to index
            tell("searches over HTTP, idle and under load")
            yield from search_rows(site, sizes)


def _print_head(messages: Console, *, quick: bool) -> None:
    messages.print(describe_machine(), highlight=False)
    messages.print(", ".join(f"{name} {number}" for name, number in versions().items()), highlight=False)
    if warning := disturbance():
        messages.print(warning, style="yellow", highlight=False)
    if quick:
        messages.print("--quick: these figures show that everything runs, and nothing else", style="yellow")
