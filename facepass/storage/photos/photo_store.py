"""Where photos come from: a directory or S3, behind one port."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any, Protocol

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError
from facepass.schemas.settings import PhotoStoreSettings
from facepass.storage.photos.errors import (
    check_key,
    errno_name,
    from_os_error,
    from_s3_answer,
    invalid_key,
    not_found,
    too_large,
    unavailable,
)

_S3 = "s3://"

_CONNECT_SECONDS = 5
_SILENCE_SECONDS = 20
"""Between two pieces of an answer."""

_FETCH_SECONDS = 120.0
"""For a whole photo: 50 MB at 3.5 Mbit/s."""

_S3_ATTEMPTS = 2
"""botocore's own. Whoever fetches decides about trying again; this covers a connection that S3 had closed."""

_S3_CONNECTIONS = 256
"""As many as photos may be fetched at once; another limit here would make some time out in a queue."""

_CHUNK_BYTES = 256 * 1024

_UNFINISHED = ".part"
"""Behind the name of a file that is being written; a complete one has the name itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPhoto:
    """A photo's file. `etag`: of its content, if the store has one."""

    data: bytes
    etag: str | None


class PhotoStore(Protocol):
    """Read access to the photos."""

    async def fetch(self, s3_key: str) -> StoredPhoto:
        """Return the whole file of one photo.

        Raises:
            PermanentError: `invalid_s3_key`, `photo_not_found`, `store_forbidden`, `file_too_large`.
            TransientError: `store_unavailable`: server error, time-out, broken connection, truncated file, or a
                store that is set up wrongly as a whole.
        """


class WritablePhotoStore(PhotoStore, Protocol):
    """A photo store that also takes photos: those that came by HTTP."""

    async def put(self, s3_key: str, data: bytes) -> None:
        """Store one photo durably, and whole: nobody ever sees a part of it.

        Raises:
            PermanentError: `invalid_s3_key`.
            TransientError: `store_unavailable`, also if the store refuses to be written to. Something of the photo
                may be there: `remove` takes it away.
        """

    async def remove(self, s3_key: str) -> None:
        """Remove one photo, if it is there, with all its versions and with what a `put` left that did not end.

        Raises: as `put`.
        """


@asynccontextmanager
async def open_photo_store(settings: PhotoStoreSettings) -> AsyncIterator[WritablePhotoStore]:
    """Open the store that `settings.photos` names: a directory, or `s3://bucket/prefix`.

    S3 credentials come from where Amazon's own tools look for them (environment, files, the machine's role).

    Raises:
        PermanentError: `invalid_setting`: no bucket.
    """
    if not settings.photos.startswith(_S3):
        yield DirectoryPhotoStore(Path(settings.photos), max_bytes=settings.photo_max_bytes)
        return
    bucket, _, prefix = settings.photos.removeprefix(_S3).partition("/")
    if not bucket:
        raise PermanentError(
            ErrorCode.INVALID_SETTING, "FACEPASS_PHOTOS: write s3://bucket or s3://bucket/prefix, or a directory"
        )
    config = AioConfig(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_SILENCE_SECONDS,
        retries={"total_max_attempts": _S3_ATTEMPTS, "mode": "standard"},
        max_pool_connections=_S3_CONNECTIONS,
        # a bucket as part of the host's name is Amazon's way; other servers are reached by the path
        s3={"addressing_style": "path" if settings.s3_endpoint else "auto"},
    )
    async with aioboto3.Session().client(
        "s3", endpoint_url=settings.s3_endpoint, region_name=settings.s3_region, config=config
    ) as client:
        yield S3PhotoStore(client, bucket=bucket, prefix=prefix, max_bytes=settings.photo_max_bytes)


class DirectoryPhotoStore:
    """Photos are files below `root`; a key is a path from there."""

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes

    async def fetch(self, s3_key: str) -> StoredPhoto:
        """See `PhotoStore.fetch`."""
        check_key(s3_key)
        return StoredPhoto(data=await asyncio.to_thread(self._read, s3_key), etag=None)

    def _read(self, s3_key: str) -> bytes:
        try:
            root = self._root.resolve(strict=True)
        except OSError as exc:
            raise unavailable(f"the photos' directory cannot be read ({errno_name(exc)})") from exc
        try:
            path = (root / s3_key).resolve(strict=True)
            if not path.is_relative_to(root):
                raise invalid_key("leaves the photos' directory")
            return self._read_file(path)
        except OSError as exc:
            raise from_os_error(exc) from exc
        except RuntimeError as exc:  # what Python 3.11 and 3.12 raise for symbolic links that run in a circle
            raise not_found() from exc

    def _read_file(self, path: Path) -> bytes:
        # without O_NONBLOCK, opening a named pipe would wait for its writer for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not S_ISREG(status.st_mode):
                raise not_found()
            data = bytearray()
            while chunk := file.read(min(_CHUNK_BYTES, self._max_bytes + 1 - len(data))):
                data += chunk
                if len(data) > self._max_bytes:
                    raise too_large(self._max_bytes)
        if len(data) < status.st_size:
            raise unavailable("the file became shorter while it was read")
        return bytes(data)

    async def put(self, s3_key: str, data: bytes) -> None:
        """See `WritablePhotoStore.put`."""
        check_key(s3_key)
        await asyncio.to_thread(self._change, s3_key, lambda path: _write(path, data))

    async def remove(self, s3_key: str) -> None:
        """See `WritablePhotoStore.remove`."""
        check_key(s3_key)
        await asyncio.to_thread(self._change, s3_key, _unlink)

    def _change(self, s3_key: str, change: Callable[[Path], None]) -> None:
        """Run `change` on the key's file, whose folder is there and inside the store."""
        try:
            root = self._root.resolve(strict=True)
            folder = (root / s3_key).parent
            folder.mkdir(parents=True, exist_ok=True)
            folder = folder.resolve(strict=True)
            if not folder.is_relative_to(root):
                raise invalid_key("leaves the photos' directory")
            change(folder / Path(s3_key).name)
            _flush(folder)
        except OSError as exc:
            raise unavailable(f"the photos' directory cannot be written to ({errno_name(exc)})") from exc


def _write(path: Path, data: bytes) -> None:
    """Under another name first: a file of the name itself is complete, and is so after a power cut."""
    unfinished = path.with_name(path.name + _UNFINISHED)
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _unlink(path: Path) -> None:
    path.with_name(path.name + _UNFINISHED).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class S3PhotoStore:
    """Photos are objects of a bucket; the object's key is `prefix` + `s3_key`, with a slash between the two."""

    def __init__(self, client: Any, *, bucket: str, prefix: str, max_bytes: int) -> None:
        """`client`: an open S3 client of aioboto3."""
        self._client = client
        self._bucket = bucket
        self._prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        self._max_bytes = max_bytes

    async def fetch(self, s3_key: str) -> StoredPhoto:
        """See `PhotoStore.fetch`."""
        check_key(s3_key)
        with _s3_errors(from_s3_answer):
            async with asyncio.timeout(_FETCH_SECONDS):
                return await self._read(self._prefix + s3_key)

    async def put(self, s3_key: str, data: bytes) -> None:
        """See `WritablePhotoStore.put`."""
        check_key(s3_key)
        with _s3_errors(_refused_write):
            async with asyncio.timeout(_FETCH_SECONDS):
                await self._client.put_object(Bucket=self._bucket, Key=self._prefix + s3_key, Body=data)

    async def remove(self, s3_key: str) -> None:
        """See `WritablePhotoStore.remove`."""
        check_key(s3_key)
        key = self._prefix + s3_key
        with _s3_errors(_refused_write):
            async with asyncio.timeout(_FETCH_SECONDS):
                answer = await self._client.delete_object(Bucket=self._bucket, Key=key)
                if answer.get("DeleteMarker"):
                    await self._remove_versions(key)

    async def _read(self, key: str) -> StoredPhoto:
        answer = await self._client.get_object(Bucket=self._bucket, Key=key)
        body, data = answer["Body"], bytearray()
        async with body:
            if answer.get("ContentLength", 0) > self._max_bytes:
                raise too_large(self._max_bytes)
            # the last, empty piece compares the length that was announced
            while chunk := await body.read(min(_CHUNK_BYTES, self._max_bytes + 1 - len(data))):
                data += chunk
                if len(data) > self._max_bytes:
                    raise too_large(self._max_bytes)
        return StoredPhoto(data=bytes(data), etag=answer.get("ETag"))

    async def _remove_versions(self, key: str) -> None:
        """A bucket that keeps versions has only hidden the object: remove it, and the mark that hides it."""
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key)
        async for page in pages:
            for version in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                if version["Key"] == key:
                    await self._client.delete_object(Bucket=self._bucket, Key=key, VersionId=version["VersionId"])


@contextmanager
def _s3_errors(refused: Callable[[ClientError], FacePassError]) -> Iterator[None]:
    """Translate what the client raises; `refused` says what an answer of S3's means."""
    try:
        yield
    except ClientError as exc:
        raise refused(exc) from exc
    except ParamValidationError as exc:
        raise invalid_key("is not one that S3 takes") from exc
    except (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise unavailable(type(exc).__name__) from exc


def _refused_write(error: ClientError) -> FacePassError:
    """Whoever writes chose the key: what S3 refuses is for the operator to mend."""
    return unavailable(f"not written ({from_s3_answer(error).message})")
