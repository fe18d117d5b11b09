"""Opening the photo store that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from facepass.schemas.settings import PhotoStoreSettings
from facepass.storage.photos.directory_store import DirectoryPhotoStore
from facepass.storage.photos.photo_port import WritablePhotoStore
from facepass.storage.photos.s3_store import open_s3_store

_S3 = "s3://"


@asynccontextmanager
async def open_photo_store(settings: PhotoStoreSettings) -> AsyncIterator[WritablePhotoStore]:
    """The store that `settings.photos` names, open for the time of the block: a directory, or `s3://bucket/prefix`.

    Raises:
        PermanentError: `invalid_setting`: no bucket.
    """
    if settings.photos.startswith(_S3):
        async with open_s3_store(settings, settings.photos.removeprefix(_S3)) as store:
            yield store
    else:
        yield DirectoryPhotoStore(Path(settings.photos), max_bytes=settings.photo_max_bytes)
