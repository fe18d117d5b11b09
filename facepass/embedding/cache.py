"""Prepared model files, kept between starts.

A file's name ends in the checksum of its content, so that it is verified by itself; it is written under another
name and then renamed. So several processes may start at once, or die half-way: the worst is that one prepares a
file that another has prepared already.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)


def default_cache_dir() -> Path:
    """The directory `facepass` in the user's cache directory (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facepass"


def cached(directory: Path, key: str, prepare: Callable[[], bytes]) -> bytes:
    """The content kept under `key`, else what `prepare` returns, kept from now on.

    A file whose content is not what its name says is removed and prepared anew. A directory that cannot be
    written costs time at every start, no more; the log says so.
    """
    for path in directory.glob(f"{key}-*.onnx"):
        with suppress(OSError):
            content = path.read_bytes()
            if path.name == _name(key, content):
                return content
            path.unlink()
    content = prepare()
    try:
        _write(directory, _name(key, content), content)
    except OSError as exc:
        _log.warning("model_cache_not_writable", directory=str(directory), error=exc.strerror)
    return content


def _name(key: str, content: bytes) -> str:
    return f"{key}-{hashlib.sha256(content).hexdigest()}.onnx"


def _write(directory: Path, name: str, content: bytes) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".preparing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(directory / name)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
