"""The process that decodes: given a file's bytes, gives back pixels. A crash of a decoder ends it, and no more.

`python -P -m facepass.embedding.decoder_process CONNECTION FILE PIXELS`: three inherited file descriptors.
CONNECTION is a Unix socket of sequenced packets; FILE and PIXELS are anonymous memory (memfd_create(2)) that the
parent holds too, so that no picture touches a file system. For each request, a JSON object, one answer is sent, a
JSON object: the picture's size, its pixels lying in PIXELS, or an error's code, message and details.

It ends at the end of CONNECTION, which is also the parent's end. Linux only; imports as little as decoding needs.
"""

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facepass.embedding.decoding import Pixels, decode_with_header, read_checked_header
from facepass.schemas.errors import ErrorCode, PermanentError

READY = b"ready"
"""The first message, sent once everything is imported."""

MESSAGE_BYTES = 4096
"""No request or answer is longer."""

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_FIRST_TO_GO = "500"
"""proc_pid_oom_score_adj(5): as if it held half of all memory beside its own."""
_STANDARD_ERROR = 2


def main() -> None:
    """Answer requests until there are no more."""
    connection, file, pixels = (int(argument) for argument in sys.argv[1:4])
    source, target = _Source(file), _Target(pixels)
    _harden()
    with socket.socket(fileno=connection) as parent:
        parent.send(READY)
        try:
            while request := parent.recv(MESSAGE_BYTES):
                parent.send(json.dumps(_answer(json.loads(request), source, target)).encode())
        except ConnectionError:
            return


def _harden() -> None:
    # Whoever stops the parent, perhaps its whole process group, stops its decoders by that: none ends before it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):  # where memory runs out, the kernel is to end a decoder and not its parent
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # a core dump that goes to a program has no size limit
    cv2.setNumThreads(1)
    # What the libraries say of broken files is noise; what the imports had to say is out already.
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STANDARD_ERROR)


class _Source:
    """The shared memory that the file lies in: it is decoded from where it lies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory: mmap.mmap | None = None

    def file(self, size: int) -> memoryview:
        """A file's worth of it, from its beginning; read-only."""
        if not size:
            return memoryview(b"")  # of nothing there is no mapping
        if self._memory is None or len(self._memory) < size:
            try:
                self._memory = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
            except OSError as exc:
                raise MemoryError from exc
        return memoryview(self._memory)[:size]


class _Target:
    """The shared memory that pixels are decoded into."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory: mmap.mmap | None = None

    def room(self, size: tuple[int, int]) -> Pixels:
        """A picture's worth of it, from its beginning; `size` is height and width."""
        wanted = size[0] * size[1] * 3
        if self._memory is None or len(self._memory) < wanted:
            if os.fstat(self._descriptor).st_size < wanted:
                os.ftruncate(self._descriptor, -(-wanted // mmap.PAGESIZE) * mmap.PAGESIZE)
            try:
                self._memory = mmap.mmap(self._descriptor, 0)
            except OSError as exc:
                raise MemoryError from exc
        return np.frombuffer(self._memory, np.uint8, wanted).reshape(*size, 3)


def _answer(request: dict[str, Any], source: _Source, target: _Target) -> dict[str, Any]:
    """The answer to one request; this process ends instead, by SIGPROF, when it takes too long."""
    try:
        return _decode(request, source, target)
    except PermanentError as exc:
        return {"code": exc.code, "message": exc.message, "details": exc.details}
    except MemoryError:
        return _failed("it takes more memory than a picture of its size may")
    except Exception as exc:  # only its name is told: a message may hold parts of the file
        return _failed(f"a defect: {type(exc).__name__}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, _ADDRESS_SPACE)


def _decode(request: dict[str, Any], source: _Source, target: _Target) -> dict[str, Any]:
    limits = request["limits"]
    signal.setitimer(signal.ITIMER_PROF, limits["seconds"])
    data = source.file(request["bytes"])
    header = read_checked_header(data, request["max_pixels"])
    pixels = header.width * header.height
    signal.setitimer(signal.ITIMER_PROF, limits["seconds"] + limits["seconds_a_megapixel"] * pixels / 1e6)
    _limit_memory(limits["bytes"] + limits["bytes_a_pixel"] * pixels)
    picture = decode_with_header(data, header, longer_side=request["longer_side"], room=target.room)
    height, width = picture.pixels.shape[:2]
    room = target.room((height, width))
    if not np.shares_memory(picture.pixels, room):
        room[:] = picture.pixels
    return {"size": [height, width], "width": picture.width, "height": picture.height}


_ADDRESS_SPACE = resource.getrlimit(resource.RLIMIT_AS)
"""The limits that this process was started with."""


def _limit_memory(more: int) -> None:
    """Let this process have so many bytes beyond what it has mapped."""
    mapped = int(Path("/proc/self/statm").read_bytes().split()[0]) * mmap.PAGESIZE
    bounds = [mapped + more, *(bound for bound in _ADDRESS_SPACE if bound != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), _ADDRESS_SPACE[1]))


def _failed(reason: str) -> dict[str, Any]:
    message = f"the picture could not be decoded: {reason}"
    return {"code": ErrorCode.DECODER_FAILED, "message": message, "details": {}}


if __name__ == "__main__":
    main()
