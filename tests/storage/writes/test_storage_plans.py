"""Plans of the write doors: what was right for the first photos of an empty database must not stay."""

from datetime import UTC, datetime

from facepass.schemas.events import PhotoIndexed
from facepass.schemas.faces import GenerationSpec
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import Origin
from facepass.schemas.photo_events import PhotoEvent
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.database import open_database
from facepass.storage.generations import open_store
from facepass.storage.writes import register_photos

NOW = datetime(2026, 5, 9, tzinfo=UTC)


def event(name: str, session: int) -> PhotoEvent:
    indexed = PhotoIndexed(
        session_id=SessionId(f"s{session}"), photo_id=PhotoId(name), s3_key="a.jpg", occurred_at=NOW
    )
    return PhotoEvent(event=indexed, origin=Origin(topic="photo-indexed", partition=0, offset=0))


async def test_no_plan_of_the_first_photos_is_kept(database_settings: DatabaseSettings) -> None:
    """Kept, it joins a thousand photos with a whole table by comparing all with all: 730 photos a second."""
    spec = GenerationSpec(pack="p", vector_size=4, operating_point=0.4, fingerprint={"f": "1"})
    async with open_database(database_settings) as database:
        store = await open_store(database, spec)
        for number in range(20):
            await register_photos(store, [event(f"first-{number}", number % 3)])
        for batch in range(3):
            photos = [event(f"{batch}-{number}", number % 37) for number in range(1000)]
            await register_photos(store, photos)
        async with database.transaction() as connection:
            found = await connection.execute(
                "SELECT sum(generic_plans), max(custom_plans) FROM pg_prepared_statements"
                " WHERE statement LIKE '%photo_results AS r%'"
            )
            row = await found.fetchone()
    assert row is not None
    assert row[0] == 0
    assert row[1] > 10, "the statements were not even prepared"
