"""Runs a command of FacePass to which something happens at a named point:
`python tricked.py WHAT POINT N [FILE] -- ingest ...`.

The product knows nothing of it: the function at the point is wrapped here. At its N-th pass

- `kill`: the process sends itself SIGKILL, as abrupt as a power cut: nothing is flushed, committed or said;
- `hold`: it makes FILE.reached and stands still there as long as FILE exists;
- `fail`: a RuntimeError is raised, as by a defect;
- `cancel`: the task that passes is cancelled.

`watch writes 1 FILE` notes in FILE the path of every file that is opened for writing.
"""

import asyncio
import contextvars
import functools
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_saving = contextvars.ContextVar("saving", default=False)


class Trick:
    """What happens, and at which pass."""

    def __init__(self, what: str, passes: str, file: str = "") -> None:
        self._what = what
        self._left = int(passes)
        self._file = Path(file)

    def plain(self) -> None:
        """Pass in a thread."""
        if self._now() and self._what == "hold":
            while self._file.exists():
                time.sleep(0.02)

    async def awaited(self) -> None:
        """Pass in a coroutine."""
        if not self._now():
            return
        while self._what == "hold" and self._file.exists():  # noqa: ASYNC110 - a file is no asyncio.Event
            await asyncio.sleep(0.02)
        if self._what == "cancel":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    def _now(self) -> bool:
        self._left -= 1
        if self._left:
            return False
        if self._what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._what == "fail":
            raise RuntimeError("a defect, planted by the fault suite")
        if self._what == "hold":
            self._file.with_suffix(".reached").touch()
        return True


_trick: Trick


def _wrap(module: str, path: str, wrapper: Callable[[Any], Any]) -> None:
    """Replace a function or method; also where another module has imported it by name."""
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    original = getattr(owner, name)
    wrapped = functools.wraps(original)(wrapper(original))
    setattr(owner, name, wrapped)
    for other in list(sys.modules.values()):
        if getattr(other, "__name__", "").startswith("facepass") and getattr(other, name, None) is original:
            setattr(other, name, wrapped)


def _after(function: Any) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        result = await function(*args, **kwargs)
        await _trick.awaited()
        return result

    return call


def _before(function: Any) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        await _trick.awaited()
        return await function(*args, **kwargs)

    return call


def _after_plain(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        _trick.plain()
        return result

    return call


def _marked(function: Any) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        token = _saving.set(True)
        try:
            return await function(*args, **kwargs)
        finally:
            _saving.reset(token)

    return call


def _at_commit(function: Any) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        if _saving.get():
            await _trick.awaited()
        return await function(*args, **kwargs)

    return call


def fetched() -> None:
    """A photo's bytes are here, nothing is made of them yet."""
    _wrap("facepass.storage.photos.directory_store", "DirectoryPhotoStore.fetch", _after)
    _wrap("facepass.storage.photos.s3_store", "S3PhotoStore.fetch", _after)


def embedded() -> None:
    """A photo's faces are known, nothing is written."""
    _wrap("facepass.embedding.engine", "FaceEngine.analyse_photo", _after_plain)


def inside_transaction() -> None:
    """Everything of a batch is written, the COMMIT is not sent."""
    import facepass.streams.ingest  # noqa: F401, PLC0415 - so that its names are there to be replaced

    _wrap("facepass.storage.writes", "save_photos", _marked)
    _wrap("psycopg", "AsyncTransaction.__aexit__", _at_commit)


def after_commit() -> None:
    """A batch is committed, its updates are not published."""
    _wrap("facepass.streams.kafka.publisher", "Publisher.publish_all", _before)


def before_offset_commit() -> None:
    """A batch is committed and published, its offsets are not."""
    _wrap("aiokafka", "AIOKafkaConsumer.commit", _before)


def shard_load() -> None:
    """A shard is half read."""
    import facepass.storage.shards  # noqa: F401, PLC0415

    _wrap("facepass.storage.shards.deltas", "read_delta", _after)


def searched() -> None:
    """A search has its matches from the shard, its answer has not left."""
    _wrap("facepass.storage.shards.shards", "Shards.search", _after)


def _named(*points: Callable[[], None]) -> dict[str, Callable[[], None]]:
    return {point.__name__.replace("_", "-"): point for point in points}


POINTS = _named(fetched, embedded, inside_transaction, after_commit, before_offset_commit)
"""Of ingest."""
SERVE_POINTS = _named(shard_load, searched)


def watch_writes(file: Path) -> None:
    """By Python's audit events, which `open`, `os.open` and `tempfile` raise."""
    notes = file.open("a", buffering=1)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            notes.write(f"{os.fsdecode(arguments[0])}\n")

    sys.addaudithook(hook)


def main() -> None:
    global _trick  # noqa: PLW0603 - one trick of one process
    separator = sys.argv.index("--")
    what, point, passes, *file = sys.argv[1:separator]
    _trick = Trick(what, passes, *file)
    if what == "watch":
        watch_writes(Path(file[0]))
    else:
        (POINTS | SERVE_POINTS)[point]()
    sys.argv = ["facepass", *sys.argv[separator + 1 :]]
    from facepass.cli import main as run  # noqa: PLC0415 - after the points are set

    run()


if __name__ == "__main__":
    main()
