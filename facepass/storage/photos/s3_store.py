"""Photos in an S3 bucket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError
from facepass.schemas.settings import PhotoStoreSettings
from facepass.storage.photos.errors import (
    check_key,
    from_s3_answer,
    invalid_key,
    too_large,
    unavailable,
)
from facepass.storage.photos.photo_port import CHUNK_BYTES, StoredPhoto

_CONNECT_SECONDS = 5
_SILENCE_SECONDS = 20
"""Between two pieces of an answer."""

_FETCH_SECONDS = 120.0
"""For a whole photo: 50 MB at 3.5 Mbit/s."""

_S3_ATTEMPTS = 2
"""botocore's own. Whoever fetches decides about trying again; this covers a connection that S3 had closed."""

_S3_CONNECTIONS = 256
"""As many as photos may be fetched at once; another limit here would make some time out in a queue."""


@asynccontextmanager
async def open_s3_store(settings: PhotoStoreSettings, place: str) -> AsyncIterator["S3PhotoStore"]:
    """A bucket with an open client.

    Credentials come from where Amazon's own tools look for them (environment, files, the machine's role).

    Args:
        place: bucket, or bucket/prefix.

    Raises:
        PermanentError: `invalid_setting`: no bucket.
    """
    bucket, _, prefix = place.partition("/")
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


class S3PhotoStore:
    """Photos as objects of a bucket; the object's key is `prefix` + `s3_key`, with a slash between the two."""

    def __init__(self, client: Any, *, bucket: str, prefix: str, max_bytes: int) -> None:
        """Take `client`, an open S3 client of aioboto3."""
        self._client = client
        self._bucket = bucket
        self._prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        self._max_bytes = max_bytes

    async def fetch(self, s3_key: str) -> StoredPhoto:
        """The same as `PhotoStore.fetch`."""
        check_key(s3_key)
        with _s3_errors(from_s3_answer):
            async with asyncio.timeout(_FETCH_SECONDS):
                return await self._read(self._prefix + s3_key)

    async def put(self, s3_key: str, data: bytes) -> None:
        """The same as `WritablePhotoStore.put`."""
        check_key(s3_key)
        with _s3_errors(_refused_write):
            async with asyncio.timeout(_FETCH_SECONDS):
                await self._client.put_object(Bucket=self._bucket, Key=self._prefix + s3_key, Body=data)

    async def remove(self, s3_key: str) -> None:
        """The same as `WritablePhotoStore.remove`."""
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
            while chunk := await body.read(min(CHUNK_BYTES, self._max_bytes + 1 - len(data))):
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
    """The error of a refused write. Its caller chose the key: what S3 refuses is for the operator to mend."""
    return unavailable(f"not written ({from_s3_answer(error).message})")
