"""The commands `facepass dev` and `facepass demo`: FacePass tried out on one machine, with embedded parts.

The parts are in the room `local`, and what it needs is the extra `local`: production imports neither.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

KafkaName = Literal["embedded", "apache"]
"""The values of `KafkaKind`, which is not imported before it is needed."""

Kafka = Annotated[
    KafkaName, typer.Option(help="Broker: embedded, or Apache Kafka, which needs Java 17 and Maven.")
]


def dev(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the HTTP API.")] = 8000,
    kafka: Kafka = "embedded",
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
    from facepass.local import KafkaKind, StackOptions, check_extra, run_dev

    check_extra("facepass dev")
    kind = KafkaKind(kafka)
    run_dev(StackOptions(host=host, port=port, kafka_port=kafka_port, data_dir=data_dir, photos=photos, kind=kind))


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
    kafka: Kafka = "embedded",
    leave: Annotated[bool, typer.Option("--exit", help="End after the result instead of staying up.")] = False,
) -> None:
    """Show the main job: index photos from Kafka, search with selfies, print the matches, draw a contact sheet.

    Everything runs on this machine in a temporary directory, which is removed at the end. Status 1 when a selfie
    does not find exactly the photos that it must find.
    """
    from facepass.local import KafkaKind, check_extra

    if (photos is None) != (not selfie):
        raise typer.BadParameter("--photos and --selfie belong together: give both, or neither for the samples")
    check_extra("facepass demo")
    from facepass.local.demo import run_demo  # needs the extra

    kind = KafkaKind(kafka)
    raise typer.Exit(run_demo(photos=photos, selfies=selfie or [], output=output, kafka=kind, stay=not leave))
