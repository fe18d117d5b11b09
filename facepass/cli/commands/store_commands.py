"""The commands `facepass migrate` and `facepass topics`: PostgreSQL's tables and Kafka's topics prepared."""

import asyncio
from typing import Annotated

import typer

from facepass.schemas.settings import DatabaseSettings, KafkaSettings, read_settings

topics = typer.Typer(help="Kafka's topics.", no_args_is_help=True)


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
