"""What every photo store does, asked of the directory and of S3 (moto's server on the loopback)."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.settings import PhotoStoreSettings
from facepass.storage.photos import PhotoStore, open_photo_store
from facepass.storage.photos.photo_port import WritablePhotoStore

MAX_BYTES = 700_000
"""More than two pieces of what the stores read at once."""

BUCKET = "photos"


@dataclass(frozen=True)
class Stocked:
    """A store, and the way photos get into it."""

    store: WritablePhotoStore
    put: Callable[[str, bytes], object]
    names: Callable[[], set[str]]


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 with one empty bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}.items():
            patch.setenv(f"AWS_{name}", value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client
        client.close()
    server.stop()


def _settings(s3: Any, prefix: str) -> PhotoStoreSettings:
    return PhotoStoreSettings(
        photos=f"s3://{BUCKET}/{prefix}",
        s3_endpoint=s3.meta.endpoint_url,
        s3_region="us-east-1",
        photo_max_bytes=MAX_BYTES,
    )


@pytest.fixture(params=["directory", "", "year/2026"], ids=["directory", "S3", "S3 with prefix"])
async def stocked(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stocked]:
    if request.param == "directory":
        settings = PhotoStoreSettings(photos=str(tmp_path), photo_max_bytes=MAX_BYTES)
        async with open_photo_store(settings) as store:
            yield Stocked(store, lambda key, data: _write(tmp_path / key, data), lambda: _files(tmp_path))
        return
    s3, prefix = request.getfixturevalue("s3"), f"{request.param}/" if request.param else ""
    async with open_photo_store(_settings(s3, request.param)) as store:
        yield Stocked(
            store,
            lambda key, data: s3.put_object(Bucket=BUCKET, Key=prefix + key, Body=data),
            lambda: {key.removeprefix(prefix) for key in _objects(s3)},
        )
    for key in _objects(s3):
        s3.delete_object(Bucket=BUCKET, Key=key)


def _objects(s3: Any) -> set[str]:
    return {item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])}


def _files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


async def _error(store: PhotoStore, key: str) -> ErrorCode:
    with pytest.raises(PermanentError) as caught:
        await store.fetch(key)
    return caught.value.code


async def test_the_bytes_of_a_key(stocked: Stocked) -> None:
    keys = ["a.jpg", "2026/05/a photo.jpg", "Ünï/фото+(1)%20&=?#.jpg", "a..b/...jpg", "ends with a dot.", "empty"]
    for key in keys:
        data = b"" if key == "empty" else os.urandom(1000)
        stocked.put(key, data)
        assert (await stocked.store.fetch(key)).data == data, key


async def test_keys_that_leave_the_store_or_are_none(stocked: Stocked) -> None:
    stocked.put("a.jpg", b"x")
    urls = ["s3://photos/a.jpg", "https://photos.test/a.jpg", "file:///etc/passwd"]
    for key in ("", "/etc/passwd", "../a.jpg", "a/../../b.jpg", "a/..", "..", "a\x00.jpg", "\ud800", *urls):
        assert await _error(stocked.store, key) is ErrorCode.INVALID_S3_KEY, key
        for change in (stocked.store.put(key, b"x"), stocked.store.remove(key)):
            with pytest.raises(PermanentError, match="invalid_s3_key"):
                await change
    assert stocked.names() == {"a.jpg"}


async def test_absent_photos(stocked: Stocked) -> None:
    stocked.put("a.jpg", b"x")
    stocked.put("folder/b.jpg", b"x")
    for key in ("absent.jpg", "a.jpg/b", "folder/absent.jpg", "folder", "folder/", "f" * 1000):
        assert await _error(stocked.store, key) is ErrorCode.PHOTO_NOT_FOUND, key


async def test_the_limit_is_allowed_and_one_byte_more_is_not(stocked: Stocked) -> None:
    stocked.put("limit.jpg", bytes(MAX_BYTES))
    stocked.put("more.jpg", bytes(MAX_BYTES + 1))
    assert len((await stocked.store.fetch("limit.jpg")).data) == MAX_BYTES
    assert await _error(stocked.store, "more.jpg") is ErrorCode.FILE_TOO_LARGE


async def test_a_prefix_is_a_folder(s3: Any) -> None:
    """`s3://bucket/mine` must not read `mine-not/…`."""
    for key in ("mine-not/a.jpg", "a.jpg", "mine/b.jpg"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    async with open_photo_store(_settings(s3, "mine")) as store:
        assert await _error(store, "-not/a.jpg") is ErrorCode.PHOTO_NOT_FOUND
        assert await _error(store, "a.jpg") is ErrorCode.PHOTO_NOT_FOUND
        assert (await store.fetch("b.jpg")).etag
    for key in _objects(s3):
        s3.delete_object(Bucket=BUCKET, Key=key)


async def test_what_was_put_is_there_and_what_was_removed_is_not(stocked: Stocked) -> None:
    stocked.put("uploads/kept.jpg", b"k")
    for key in ("uploads/x", "uploads/deeper/фото.jpg"):
        data = os.urandom(MAX_BYTES)
        await stocked.store.put(key, data)
        assert (await stocked.store.fetch(key)).data == data
        await stocked.store.put(key, b"other")
        assert (await stocked.store.fetch(key)).data == b"other"
        assert stocked.names() == {"uploads/kept.jpg", key}
        await stocked.store.remove(key)
        assert await _error(stocked.store, key) is ErrorCode.PHOTO_NOT_FOUND
        await stocked.store.remove(key)
    assert stocked.names() == {"uploads/kept.jpg"}


async def test_a_put_that_died_is_seen_by_nobody_and_removed_with_its_key(tmp_path: Path) -> None:
    """What a process leaves that was killed while it wrote: the file under its other name."""
    async with open_photo_store(PhotoStoreSettings(photos=str(tmp_path))) as store:
        _write(tmp_path / "uploads" / "x.part", b"half of")
        assert await _error(store, "uploads/x") is ErrorCode.PHOTO_NOT_FOUND
        await store.remove("uploads/x")
    assert _files(tmp_path) == set()


async def test_every_version_is_removed_where_a_bucket_keeps_them(s3: Any) -> None:
    s3.create_bucket(Bucket="versioned")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    settings = _settings(s3, "").model_copy(update={"photos": "s3://versioned/p"})
    async with open_photo_store(settings) as store:
        for data in (b"one", b"two"):
            await store.put("x", data)
        await store.put("xy", b"kept")
        await store.remove("x")
        assert (await store.fetch("xy")).data == b"kept"
    left = s3.list_object_versions(Bucket="versioned")
    assert [version["Key"] for version in left["Versions"]] == ["p/xy"]
    assert "DeleteMarkers" not in left


async def test_a_store_that_cannot_be_written_to_is_unavailable(s3: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    for settings in (
        PhotoStoreSettings(photos=str(tmp_path / "absent")),
        PhotoStoreSettings(photos=str(tmp_path)),
        _settings(s3, "").model_copy(update={"photos": "s3://no-such-bucket"}),
    ):
        async with open_photo_store(settings) as store:
            with pytest.raises(TransientError, match="store_unavailable"):
                await store.put("file/x", b"x")
