"""Uploaded photos: wherever a process dies, no object stays for ever; what is deleted is gone, or said to be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from support.index_workers import Calls, apply_deletion, code, faces_of, open_calls, register, settle
from support.samples import astronaut_png

from facepass.embedding import FaceEngine
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.events import PhotoDeleted, PhotoIndexed, SessionDeleted
from facepass.schemas.faces import PhotoFaces
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import DatabaseSettings, PhotoStoreSettings
from facepass.storage.photos.directory_store import DirectoryPhotoStore
from facepass.storage.photos.uploads import UploadStore
from facepass.use_cases import photo_results

SESSION, PHOTO = SessionId("s"), PhotoId("p")


class KilledError(BaseException):
    """The process ends here: nothing of ours may catch it and tidy up."""


@pytest.fixture(scope="module")
def faces(engine: FaceEngine) -> PhotoFaces:
    return faces_of(engine, astronaut_png())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


@pytest.fixture
async def calls(
    database_settings: DatabaseSettings, engine: FaceEngine, faces: PhotoFaces, root: Path
) -> AsyncIterator[Calls]:
    photos = PhotoStoreSettings(photos=str(root))
    async with open_calls(database_settings, engine, faces, photos=photos, index_wait_seconds=20) as opened:
        yield opened


@pytest.fixture
def run(database_settings: DatabaseSettings) -> "Run":
    return Run(database_settings.database.get_secret_value())


class Run:
    """Statements on the test's database."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def rows(self) -> set[str]:
        """Keys of all uploads that have a row."""
        with psycopg.connect(self._uri) as connection:
            return {row[0] for row in connection.execute("SELECT s3_key FROM uploads").fetchall()}

    def as_if_unmarked(self) -> None:
        """As if no deletion had found the rows."""
        with psycopg.connect(self._uri) as connection:
            connection.execute(
                "UPDATE uploads SET removing = false, due_at = clock_timestamp() + interval '7 days'"
            )

    def days_pass(self) -> None:
        """Eight days, as far as uploads can tell."""
        with psycopg.connect(self._uri) as connection:
            connection.execute(
                "UPDATE uploads SET begun_at = begun_at - interval '8 days', due_at = due_at - interval '8 days'"
            )


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def take_away(root: Path) -> None:
    """The photo store can neither be read nor written to."""
    root.rename(root.with_name("away"))


def bring_back(root: Path) -> None:
    root.with_name("away").rename(root)


def upload(calls: Calls, photo_id: str = PHOTO) -> "asyncio.Task[httpx.Response]":
    form = {"session_id": SESSION, "photo_id": photo_id}
    return asyncio.create_task(calls.post("/index", data=form, files={"file": astronaut_png()}))


def deletion(photo_id: str | None, occurred_at: datetime) -> SessionDeleted | PhotoDeleted:
    fields = {"session_id": SESSION, "occurred_at": occurred_at.isoformat()}
    if photo_id is None:
        return SessionDeleted.model_validate(fields)
    return PhotoDeleted.model_validate(fields | {"photo_id": photo_id})


async def sweep(calls: Calls) -> None:
    while await calls.stack.parts.uploads.sweep(10) == 10:
        pass


# --- kills ---


class Dying(DirectoryPhotoStore):
    """A photo store whose process is killed `before`, `during` or `after` something is put or removed."""

    def __init__(self, root: Path, moment: str) -> None:
        super().__init__(root, max_bytes=10_000_000)
        self._directory = root
        self._moment = moment

    async def put(self, s3_key: str, data: bytes) -> None:
        if self._moment == "during":
            path = self._directory / f"{s3_key}.part"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data[:1000])
        if self._moment == "after":
            await super().put(s3_key, data)
        raise KilledError

    async def remove(self, s3_key: str) -> None:
        if self._moment == "after":
            await super().remove(s3_key)
        raise KilledError


@pytest.mark.parametrize("moment", ["before", "during", "after"])
async def test_a_kill_while_a_photo_is_stored(calls: Calls, root: Path, run: Run, moment: str) -> None:
    dying = UploadStore(calls.stack.parts.store.database, Dying(root, moment))
    with pytest.raises(KilledError):
        await dying.store(SESSION, PHOTO, astronaut_png(), occurred_at=datetime.now(UTC))
    assert len(run.rows()) == 1
    assert len(files(root)) == (moment != "before")

    await sweep(calls)  # it may still be on its way
    assert len(run.rows()) == 1
    run.days_pass()
    await sweep(calls)
    assert (run.rows(), files(root)) == (set(), set())


async def test_a_kill_before_the_event_is_published(calls: Calls, root: Path, run: Run) -> None:
    await calls.stack.parts.uploads.store(SESSION, PHOTO, astronaut_png(), occurred_at=datetime.now(UTC))
    await sweep(calls)
    assert len(files(root)) == 1
    run.days_pass()
    await sweep(calls)
    assert (run.rows(), files(root)) == (set(), set())


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_kill_while_an_object_is_removed(calls: Calls, root: Path, run: Run, moment: str) -> None:
    call = upload(calls)
    event = await calls.workers.next_photo()
    await register(calls.stack.parts, event)
    await apply_deletion(calls.stack.parts, deletion(PHOTO, event.occurred_at))
    dying = UploadStore(calls.stack.parts.store.database, Dying(root, moment))
    with pytest.raises(BaseExceptionGroup, match="unhandled"):
        await dying.sweep(10)
    assert run.rows() == {event.s3_key}
    assert len(files(root)) == (moment == "before")

    run.days_pass()
    await sweep(calls)
    assert (run.rows(), files(root)) == (set(), set())
    assert code(await call) == (409, "fenced")


# --- what goes, and what stays ---


async def test_an_object_stays_as_long_as_its_photo_rests_on_it(calls: Calls, root: Path, run: Run) -> None:
    call = upload(calls)
    event = await calls.workers.next_photo()
    assert event.s3_key.startswith("facepass-uploads/")
    assert (root / event.s3_key).read_bytes() == astronaut_png()
    assert not {SESSION, PHOTO} & set(event.s3_key.split("/"))
    await calls.note(await settle(calls.stack.parts, event, found=calls.faces))
    assert (await call).status_code == 200
    for _ in range(3):
        run.days_pass()
        await sweep(calls)
        assert files(root) == run.rows() == {event.s3_key}

    # a newer event names another key
    newer = event.model_copy(update={"s3_key": "a.jpg", "occurred_at": event.occurred_at + timedelta(seconds=1)})
    await register(calls.stack.parts, newer)
    await register(calls.stack.parts, event)  # the old one, delivered again, changes nothing
    await sweep(calls)
    assert (run.rows(), files(root)) == (set(), set())


async def test_a_deletion_takes_what_is_older_and_leaves_what_is_newer(calls: Calls, root: Path, run: Run) -> None:
    keys = []
    for photo_id in ("a", "b"):
        task = upload(calls, photo_id)
        event = await calls.workers.next_photo()
        await calls.note(await settle(calls.stack.parts, event, found=calls.faces))
        await task
        keys.append(event)
    await apply_deletion(calls.stack.parts, deletion(None, keys[0].occurred_at))
    assert await calls.stack.parts.uploads.remove_deleted(SESSION, None) == 0
    assert files(root) == run.rows() == {keys[1].s3_key}
    await apply_deletion(calls.stack.parts, deletion("b", keys[1].occurred_at))
    assert await calls.stack.parts.uploads.remove_deleted(SESSION, PhotoId("b")) == 0
    assert (run.rows(), files(root)) == (set(), set())


async def test_a_photo_that_is_deleted_while_it_is_stored(calls: Calls, root: Path, run: Run) -> None:
    """The object comes after the deletion: the receipt calls it pending, and it does not stay."""
    parts, now = calls.stack.parts, datetime.now(UTC)

    class Slow(DirectoryPhotoStore):
        async def put(self, s3_key: str, data: bytes) -> None:
            await apply_deletion(parts, deletion(PHOTO, now))
            assert await parts.uploads.remove_deleted(SESSION, PHOTO) == 1
            await super().put(s3_key, data)

    slow = UploadStore(parts.store.database, Slow(root, max_bytes=10_000_000))
    with pytest.raises(PermanentError) as caught:
        await slow.store(SESSION, PHOTO, astronaut_png(), occurred_at=now)
    assert caught.value.code is ErrorCode.FENCED
    assert await parts.uploads.remove_deleted(SESSION, PHOTO) == 0
    assert (run.rows(), files(root)) == (set(), set())


async def test_the_receipt_says_what_the_photo_store_still_holds(calls: Calls, root: Path, run: Run) -> None:
    task = upload(calls)
    event = await calls.workers.next_photo()
    await calls.note(await settle(calls.stack.parts, event, found=calls.faces))
    await task
    take_away(root)
    deleting = asyncio.create_task(calls.delete(f"/index/{SESSION}"))
    await apply_deletion(calls.stack.parts, await calls.workers.next())
    receipt = (await calls.polling(deleting)).json()
    assert (receipt["deleted"], receipt["embeddings_removed"], receipt["uploads_pending"]) == (True, 1, 1)

    bring_back(root)
    run.days_pass()
    await sweep(calls)
    assert (run.rows(), files(root)) == (set(), set())


# --- calls that fail ---


async def test_uploads_without_kafka_or_without_a_store(calls: Calls, root: Path, run: Run) -> None:
    calls.workers.broker_there = False
    assert code(await upload(calls)) == (503, "broker_unavailable")
    run.days_pass()
    await sweep(calls)
    assert (run.rows(), files(root)) == (set(), set())

    calls.workers.broker_there = True
    take_away(root)
    assert code(await upload(calls)) == (503, "store_unavailable")
    assert calls.workers.published == []


async def test_a_photo_that_is_fenced_gives_its_object_up(
    calls: Calls, root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fence is ahead of this machine's clock, and came just before the object had its row."""
    monkeypatch.setattr(photo_results, "_FIRST_LOOK_SECONDS", 3600.0)
    call = upload(calls)
    event = await calls.workers.next_photo()
    assert isinstance(event, PhotoIndexed)
    update = await apply_deletion(calls.stack.parts, deletion(PHOTO, event.occurred_at + timedelta(hours=1)))
    run.as_if_unmarked()
    await calls.note(update)
    assert code(await call) == (409, "fenced")
    await sweep(calls)
    assert (run.rows(), files(root)) == (set(), set())
    # and now nothing is stored at all
    assert code(await upload(calls)) == (409, "fenced")
    assert (run.rows(), files(root)) == (set(), set())


async def test_too_many_uploads_at_once_are_refused(calls: Calls) -> None:
    uploads = [upload(calls, f"photo-{number}") for number in range(17)]
    refused, _ = await asyncio.wait(uploads, return_when=asyncio.FIRST_COMPLETED)
    assert {code(task.result()) for task in refused} == {(503, "overloaded")}
    for task in uploads:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
