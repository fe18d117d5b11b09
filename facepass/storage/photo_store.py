"""Where photos come from: a directory or S3, behind one port."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any, Protocol

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.settings import PhotoStoreSettings

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

_MENDABLE_REFUSALS = {"RequestTimeTooSkewed", "ExpiredToken", "ExpiredTokenException", "NoSuchBucket"}
"""S3's 403 and 404 that are about this machine's clock, credentials or settings, not about the photo."""

_INVALID_KEYS = {"KeyTooLongError", "InvalidURI", "InvalidObjectName", "XMinioInvalidObjectName"}

_NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO}


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


@asynccontextmanager
async def open_photo_store(settings: PhotoStoreSettings) -> AsyncIterator[PhotoStore]:
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
        _check_key(s3_key)
        return StoredPhoto(data=await asyncio.to_thread(self._read, s3_key), etag=None)

    def _read(self, s3_key: str) -> bytes:
        try:
            root = self._root.resolve(strict=True)
        except OSError as exc:
            raise _unavailable(f"the photos' directory cannot be read ({_errno_name(exc)})") from exc
        try:
            path = (root / s3_key).resolve(strict=True)
            if not path.is_relative_to(root):
                raise _invalid_key("leaves the photos' directory")
            return self._read_file(path)
        except OSError as exc:
            raise _from_os_error(exc) from exc
        except RuntimeError as exc:  # what Python 3.11 and 3.12 raise for symbolic links that run in a circle
            raise _not_found() from exc

    def _read_file(self, path: Path) -> bytes:
        # without O_NONBLOCK, opening a named pipe would wait for its writer for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not S_ISREG(status.st_mode):
                raise _not_found()
            data = bytearray()
            while chunk := file.read(min(_CHUNK_BYTES, self._max_bytes + 1 - len(data))):
                data += chunk
                if len(data) > self._max_bytes:
                    raise _too_large(self._max_bytes)
        if len(data) < status.st_size:
            raise _unavailable("the file became shorter while it was read")
        return bytes(data)


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
        _check_key(s3_key)
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                return await self._read(self._prefix + s3_key)
        except ClientError as exc:
            raise _from_s3_answer(exc) from exc
        except ParamValidationError as exc:
            raise _invalid_key("is not one that S3 takes") from exc
        except (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise _unavailable(type(exc).__name__) from exc

    async def _read(self, key: str) -> StoredPhoto:
        answer = await self._client.get_object(Bucket=self._bucket, Key=key)
        body, data = answer["Body"], bytearray()
        async with body:
            if answer.get("ContentLength", 0) > self._max_bytes:
                raise _too_large(self._max_bytes)
            # the last, empty piece compares the length that was announced
            while chunk := await body.read(min(_CHUNK_BYTES, self._max_bytes + 1 - len(data))):
                data += chunk
                if len(data) > self._max_bytes:
                    raise _too_large(self._max_bytes)
        return StoredPhoto(data=bytes(data), etag=answer.get("ETag"))


def _check_key(s3_key: str) -> None:
    if not s3_key:
        raise _invalid_key("is empty")
    if s3_key.startswith("/"):
        raise _invalid_key("is absolute; it must be relative to the photo store")
    if "\x00" in s3_key or any("\ud800" <= character <= "\udfff" for character in s3_key):
        raise _invalid_key("holds a character that no key may hold")
    if ".." in s3_key.split("/"):
        raise _invalid_key("holds '..'")


def _from_s3_answer(error: ClientError) -> FacePassError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in _INVALID_KEYS:
        return _invalid_key("is not one that S3 takes")
    if code not in _MENDABLE_REFUSALS:
        if status == 404:  # noqa: PLR2004 - HTTP
            return _not_found()
        if status in {401, 403}:
            return _forbidden(code)
    return _unavailable(f"{status} {code}")


def _from_os_error(error: OSError) -> FacePassError:
    if error.errno in _NO_SUCH_FILE:
        return _not_found()
    if error.errno in {errno.EACCES, errno.EPERM}:
        return _forbidden(_errno_name(error))
    return _unavailable(_errno_name(error))


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def _invalid_key(reason: str) -> PermanentError:
    return PermanentError(ErrorCode.INVALID_S3_KEY, f"s3_key {reason}")


def _not_found() -> PermanentError:
    return PermanentError(ErrorCode.PHOTO_NOT_FOUND, "the photo store has no photo of that key")


def _forbidden(reason: str) -> PermanentError:
    return PermanentError(ErrorCode.STORE_FORBIDDEN, f"the photo store refuses access ({reason})")


def _too_large(max_bytes: int) -> PermanentError:
    return PermanentError(ErrorCode.FILE_TOO_LARGE, f"the photo has more than {max_bytes} bytes", limit=max_bytes)


def _unavailable(reason: str) -> TransientError:
    return TransientError(ErrorCode.STORE_UNAVAILABLE, f"photo store: {reason}")
