"""`facepass intake` and `facepass ingest`: settings read, model opened, the consuming process run."""

from facepass.embedding import open_engine, read_spec
from facepass.schemas.settings import (
    DatabaseSettings,
    IngestSettings,
    KafkaSettings,
    ModelSettings,
    PhotoStoreSettings,
    read_settings,
)
from facepass.streams.ingest import run_ingest
from facepass.streams.intake import run_intake


async def intake(metrics_port: int | None) -> None:
    """Run intake until a signal; raises FacePassError."""
    await run_intake(
        kafka=read_settings(KafkaSettings),
        database=read_settings(DatabaseSettings),
        spec=read_spec(read_settings(ModelSettings)),
        metrics_port=metrics_port,
    )


async def ingest(metrics_port: int | None) -> None:
    """Run ingest until a signal; raises FacePassError."""
    kafka, database = read_settings(KafkaSettings), read_settings(DatabaseSettings)
    photos, limits = read_settings(PhotoStoreSettings), read_settings(IngestSettings)
    engine = open_engine(read_settings(ModelSettings))
    await run_ingest(
        kafka=kafka, database=database, photos=photos, ingest=limits, engine=engine, metrics_port=metrics_port
    )
