"""The port to the photos: what every photo store can do, wherever it keeps them."""

from dataclasses import dataclass
from typing import Protocol

CHUNK_BYTES = 256 * 1024
"""Read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPhoto:
    """A photo's file. `etag`: of its content, if the store has one."""

    data: bytes
    etag: str | None


class PhotoStore(Protocol):
    """Read access to the photos."""

    async def fetch(self, s3_key: str) -> StoredPhoto:
        """The whole file of one photo.

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
