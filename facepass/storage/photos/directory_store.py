"""Photos in a directory."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from stat import S_ISREG

from facepass.storage.photos.errors import (
    check_key,
    errno_name,
    from_os_error,
    invalid_key,
    not_found,
    too_large,
    unavailable,
)
from facepass.storage.photos.photo_port import CHUNK_BYTES, StoredPhoto

_UNFINISHED = ".part"
"""Behind the name of a file that is being written; a complete one has the name itself."""


class DirectoryPhotoStore:
    """A store of photos that are files below `root`; a key is a path from there."""

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes

    async def fetch(self, s3_key: str) -> StoredPhoto:
        """The same as `PhotoStore.fetch`."""
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
            while chunk := file.read(min(CHUNK_BYTES, self._max_bytes + 1 - len(data))):
                data += chunk
                if len(data) > self._max_bytes:
                    raise too_large(self._max_bytes)
        if len(data) < status.st_size:
            raise unavailable("the file became shorter while it was read")
        return bytes(data)

    async def put(self, s3_key: str, data: bytes) -> None:
        """The same as `WritablePhotoStore.put`."""
        check_key(s3_key)
        await asyncio.to_thread(self._change, s3_key, lambda path: _write(path, data))

    async def remove(self, s3_key: str) -> None:
        """The same as `WritablePhotoStore.remove`."""
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
    """Write under another name first: a file of the name itself is complete, and is so after a power cut."""
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
