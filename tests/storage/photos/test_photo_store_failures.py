"""What can go wrong with a photo store: files that are none, an S3 that refuses, stumbles or lies."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.settings import PhotoStoreSettings
from facepass.storage.photos import PhotoStore, open_photo_store, s3_store
from facepass.storage.photos.directory_store import DirectoryPhotoStore

BODY = bytes(range(256)) * 40


async def _failure(store: PhotoStore, key: str = "a.jpg") -> FacePassError:
    with pytest.raises(FacePassError) as caught:
        await store.fetch(key)
    return caught.value


def _directory(root: Path) -> DirectoryPhotoStore:
    return DirectoryPhotoStore(root, max_bytes=10_000)


async def test_links_out_of_the_directory_are_refused_and_links_inside_are_not(tmp_path: Path) -> None:
    root, outside = tmp_path / "photos", tmp_path / "photos-of-others"
    root.mkdir()
    outside.mkdir()
    (outside / "a.jpg").write_bytes(b"secret")
    (root / "b.jpg").write_bytes(b"mine")
    (root / "file").symlink_to(outside / "a.jpg")
    (root / "folder").symlink_to(outside)
    (root / "inside").symlink_to(root / "b.jpg")
    (root / "circle").symlink_to(root / "circle")
    for key in ("file", "folder/a.jpg"):
        error = await _failure(_directory(root), key)
        assert (type(error), error.code) == (PermanentError, ErrorCode.INVALID_S3_KEY)
    assert (await _directory(root).fetch("inside")).data == b"mine"
    assert (await _failure(_directory(root), "circle")).code is ErrorCode.PHOTO_NOT_FOUND


async def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert (await _directory(tmp_path / "link").fetch("a.jpg")).data == b"x"


async def test_a_named_pipe_is_no_photo_and_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with asyncio.timeout(20):
        assert (await _failure(_directory(tmp_path), "pipe")).code is ErrorCode.PHOTO_NOT_FOUND


async def test_an_absent_directory_is_an_outage_not_the_photos_fault(tmp_path: Path) -> None:
    error = await _failure(_directory(tmp_path / "unmounted"))
    assert (type(error), error.code) == (TransientError, ErrorCode.STORE_UNAVAILABLE)


def _refuse(path: Path) -> bytes:
    raise PermissionError(errno.EACCES, "made up: the tests may run as root, who may read everything", str(path))


async def test_an_unreadable_file_is_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    store = _directory(tmp_path)
    monkeypatch.setattr(store, "_read_file", _refuse)
    error = await _failure(store)
    assert (type(error), error.code) == (PermanentError, ErrorCode.STORE_FORBIDDEN)
    assert str(tmp_path) not in str(error)


async def test_a_bucket_must_be_named() -> None:
    with pytest.raises(PermanentError) as caught:
        async with open_photo_store(PhotoStoreSettings(photos="s3:///prefix")):
            pass
    assert caught.value.code is ErrorCode.INVALID_SETTING


def _answer(status: int, body: bytes = b"", *, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status} Text\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body


def _refusal(status: int, code: str) -> bytes:
    return _answer(status, f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode())


@asynccontextmanager
async def _s3_that_answers(
    answer: bytes | None, monkeypatch: pytest.MonkeyPatch, max_bytes: int = 50_000
) -> AsyncIterator[tuple[PhotoStore, Callable[[], int]]]:
    """A store of an S3 that gives one answer to everything (None: none at all), and how often it was asked."""
    connections: list[asyncio.Task[object] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = PhotoStoreSettings(
        photos="s3://bucket", s3_endpoint=endpoint, s3_region="us-east-1", photo_max_bytes=max_bytes
    )
    async with server, open_photo_store(settings) as store:
        yield store, lambda: len(connections)
    await asyncio.gather(*filter(None, connections), return_exceptions=True)
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (_refusal(403, "AccessDenied"), PermanentError, ErrorCode.STORE_FORBIDDEN),
        (_answer(403), PermanentError, ErrorCode.STORE_FORBIDDEN),
        (_refusal(404, "NoSuchKey"), PermanentError, ErrorCode.PHOTO_NOT_FOUND),
        (_refusal(400, "KeyTooLongError"), PermanentError, ErrorCode.INVALID_S3_KEY),
        (_refusal(404, "NoSuchBucket"), TransientError, ErrorCode.STORE_UNAVAILABLE),
        (_refusal(403, "RequestTimeTooSkewed"), TransientError, ErrorCode.STORE_UNAVAILABLE),
        (_refusal(500, "InternalError"), TransientError, ErrorCode.STORE_UNAVAILABLE),
        (_refusal(503, "SlowDown"), TransientError, ErrorCode.STORE_UNAVAILABLE),
        (_answer(502, b"<html>proxy</html>"), TransientError, ErrorCode.STORE_UNAVAILABLE),
        (_refusal(429, "TooManyRequests"), TransientError, ErrorCode.STORE_UNAVAILABLE),
        (_answer(200, BODY, length=len(BODY) + 1), TransientError, ErrorCode.STORE_UNAVAILABLE),
        (b"no HTTP at all\r\n\r\n", TransientError, ErrorCode.STORE_UNAVAILABLE),
        (b"", TransientError, ErrorCode.STORE_UNAVAILABLE),
    ],
    ids=lambda value: value[9:60].decode("ascii", "replace") if isinstance(value, bytes) else None,
)
async def test_what_s3_answers(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, kind: type[FacePassError], code: ErrorCode
) -> None:
    async with _s3_that_answers(answer, monkeypatch) as (store, asked):
        error = await _failure(store)
        assert (type(error), error.code) == (kind, code), error
        # twice by botocore, and each time once more by the HTTP client when the connection closed at once
        assert asked() <= 4, "retrying is not the store's business"


async def test_a_photo_that_s3_has(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _s3_that_answers(_answer(200, BODY), monkeypatch) as (store, _):
        assert (await store.fetch("a.jpg")).data == BODY


async def test_a_body_larger_than_announced_is_never_read_beyond_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + bytes(0x10000) + b"\r\n"
    async with _s3_that_answers(endless, monkeypatch, max_bytes=50_000) as (store, _):
        assert (await _failure(store)).code is ErrorCode.FILE_TOO_LARGE


async def test_an_announced_length_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _s3_that_answers(_answer(200, b"x", length=50_001), monkeypatch, max_bytes=50_000) as (store, _):
        assert (await _failure(store)).code is ErrorCode.FILE_TOO_LARGE


async def test_a_silent_s3_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "_SILENCE_SECONDS", 0.2)
    async with _s3_that_answers(None, monkeypatch) as (store, _):
        assert (await _failure(store)).code is ErrorCode.STORE_UNAVAILABLE


async def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    settings = PhotoStoreSettings(photos="s3://bucket", s3_endpoint="http://127.0.0.1:9", s3_region="us-east-1")
    async with open_photo_store(settings) as store:
        assert (await _failure(store)).code is ErrorCode.STORE_UNAVAILABLE
