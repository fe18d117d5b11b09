"""Decoding, away from what must not fall with it: a pool of processes, each decoding one picture at a time.

Decoders are large C libraries that read what strangers send. Here a crash, an endless loop or a runaway allocation
in one costs the one picture: its process ends, and the next picture has a new one.
"""

import fcntl
import json
import mmap
import os
import queue
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from facepass.embedding.decoder_process import MESSAGE_BYTES, READY
from facepass.embedding.decoding import Picture, check_bytes, decode_image
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.metrics import decoders_lost_total

PATIENCE_SECONDS = 120.0
"""How long an answer is waited for. A decoder that runs ends by itself after the processor time that its picture
may take; this is for one that does not run, and generous because others may have the cores."""

_KEPT_BYTES = 64 * 2**20
"""Shared memory kept for the next picture: the largest selfie's pixels, 16.8 MP, take 48 MiB. Fresh pages for
every picture were seen to cost a fifth of its decoding."""

_SECRETS = ("FACEPASS_", "AWS_", "PG")
"""Beginnings of the environment variables that hold settings and credentials: a decoder gets none of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingLimits:
    """The most that decoding one picture may take, by the pixels that its header announces.

    Attributes:
        seconds, seconds_a_megapixel: processor time. Measured on an AMD EPYC, for a megapixel: plain JPEG 4 ms,
            progressive 27, progressive CMYK 69, PNG of 16 bits 51, WebP 20.
        bytes, bytes_a_pixel: memory. Measured at 24 MP, turned: JPEG 9 bytes a pixel, progressive CMYK 13, PNG 9,
            WebP 7.
    """

    seconds: float = 3.0
    seconds_a_megapixel: float = 0.3
    bytes: int = 64 * 2**20
    bytes_a_pixel: int = 24


class Decoder(Protocol):
    """The port to what turns files into pictures. Safe to use from several threads at once."""

    def decoded(
        self, data: bytes, *, max_pixels: int, max_bytes: int | None = None, longer_side: int | None = None
    ) -> AbstractContextManager[Picture]:
        """The picture, for the block: its pixels are not to be used after it. Arguments: see `decode_image`.

        Raises:
            PermanentError: as `decode_image`, and `decoder_failed`.
            TransientError: `overloaded`: a decoder could not be started.
        """
        ...


class DecoderHere:
    """A decoder in this process: nothing is isolated. For one's own pictures, and systems without memfd_create."""

    @contextmanager
    def decoded(
        self, data: bytes, *, max_pixels: int, max_bytes: int | None = None, longer_side: int | None = None
    ) -> Iterator[Picture]:
        """The same as `Decoder.decoded`."""
        yield decode_image(data, max_pixels=max_pixels, max_bytes=max_bytes, longer_side=longer_side)


class DecoderPool:
    """Processes that decode, each started at its first picture. Beyond `size` at once, callers wait."""

    def __init__(
        self, size: int, *, limits: DecodingLimits | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._limits = limits or DecodingLimits()
        self._free: queue.LifoQueue[_Place] = queue.LifoQueue()  # the one used last has the warmest memory
        places = [_Place(patience) for _ in range(size)]
        for place in places:
            self._free.put(place)
        self.close = weakref.finalize(self, _close_all, places)
        """Ends the processes. Called at the end of this one too, and when nobody holds the pool any more."""

    @contextmanager
    def decoded(
        self, data: bytes, *, max_pixels: int, max_bytes: int | None = None, longer_side: int | None = None
    ) -> Iterator[Picture]:
        """The same as `Decoder.decoded`."""
        check_bytes(data, max_bytes)
        request = {"max_pixels": max_pixels, "longer_side": longer_side, "limits": asdict(self._limits)}
        place = self._free.get()
        try:
            yield place.decode(data, request)
        finally:
            place.tidy()
            self._free.put(place)


def _close_all(places: "list[_Place]") -> None:
    for place in places:
        place.end()


class _Place:
    """Room for one process, which belongs to one caller at a time."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._running: _Running | None = None

    def decode(self, data: bytes, request: dict[str, Any]) -> Picture:
        running = self._process()
        try:
            return running.decode(data, request)
        except FacePassError:
            raise
        except _LostError as exc:
            status = self.end(kill=True)
            decoders_lost_total.inc()
            raise PermanentError(
                ErrorCode.DECODER_FAILED, f"the picture could not be decoded: {_reason(status, exc)}"
            ) from None
        except BaseException:
            self.end(kill=True)  # its answer may still come, and would be taken for that to the next picture
            raise

    def _process(self) -> "_Running":
        """A process that lives: it may have been killed since the last picture, which is not this one's fault."""
        if self._running is not None and self._running.process.poll() is not None:
            self.end(kill=True)
        if self._running is None:
            try:
                self._running = _start(self._patience)
            except (OSError, _LostError) as exc:
                raise TransientError(
                    ErrorCode.OVERLOADED, "a decoder process could not be started; try again shortly"
                ) from exc
        return self._running

    def tidy(self) -> None:
        """Give memory back, after a picture, that the next one will hardly need."""
        if self._running is not None:
            self._running.tidy()

    def end(self, *, kill: bool = False) -> int | None:
        """End the process, at once or by the end of its connection; its exit status."""
        running, self._running = self._running, None
        return running.end(kill=kill) if running else None


class _LostError(Exception):
    """The loss of a process: it ended, does not answer, or answers nonsense."""


def _reason(status: int | None, lost: _LostError) -> str:
    if status == -signal.SIGPROF:
        return "it took longer than a picture of its size may"
    return str(lost)


_BLOCK_BYTES = 512
"""Of `st_blocks`, stat(2)."""


class _Running:
    """A process, its connection, and the memory that it shares: one for the file, one for the pixels."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", connection: socket.socket, file: int, target: int
    ) -> None:
        self.process = process
        self._connection = connection
        self._file = file
        self._target = target
        self._pixels: mmap.mmap | None = None

    def decode(self, data: bytes, request: dict[str, Any]) -> Picture:
        try:
            os.pwrite(self._file, data, 0)
        except OSError as exc:
            raise TransientError(ErrorCode.OVERLOADED, "no memory for the picture; try again shortly") from exc
        answer = self._ask(request | {"bytes": len(data)})
        try:
            if "code" in answer:
                raise PermanentError(ErrorCode(answer["code"]), answer["message"], **answer["details"])
            return self._picture(answer)
        except (KeyError, TypeError, ValueError) as exc:
            raise _LostError("the decoder did not answer sensibly") from exc

    def wait_until_ready(self) -> None:
        if self._receive() != READY:
            raise _LostError("the decoder did not start")

    def tidy(self) -> None:
        for descriptor in (self._file, self._target):
            if os.fstat(descriptor).st_blocks * _BLOCK_BYTES > _KEPT_BYTES:
                with mmap.mmap(descriptor, 0) as memory:
                    memory.madvise(mmap.MADV_REMOVE)

    def end(self, *, kill: bool) -> int:
        self._connection.close()
        os.close(self._file)
        os.close(self._target)
        if kill:
            self.process.kill()
        try:
            return self.process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self._connection.send(json.dumps(request).encode())
        except OSError as exc:
            raise _LostError("the decoder ended") from exc
        answer: dict[str, Any] = json.loads(self._receive())
        return answer

    def _receive(self) -> bytes:
        try:
            message = self._connection.recv(MESSAGE_BYTES)
        except TimeoutError as exc:
            raise _LostError("the decoder did not answer in time") from exc
        except OSError as exc:
            raise _LostError("the decoder ended") from exc
        if not message:
            raise _LostError("the decoder ended")
        return message

    def _picture(self, answer: dict[str, Any]) -> Picture:
        height, width = answer["size"]
        wanted = height * width * 3
        if self._pixels is None or len(self._pixels) < wanted:
            self._pixels = mmap.mmap(self._target, 0)  # sealed: it never gets shorter under our hands
        pixels = np.frombuffer(self._pixels, np.uint8, wanted).reshape(height, width, 3)
        return Picture(pixels=pixels, width=answer["width"], height=answer["height"])


_ENDING_SECONDS = 2.0
"""What a process gets to end by itself: it has nothing to do but to see the end of its connection."""


def _start(patience: float) -> _Running:
    """Start a process and wait until it is ready; it gets as long for each picture as `patience` says.

    Raises:
        OSError, _LostError: it could not be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE_SECONDS)  # a start takes as long as the machine is busy, whatever a picture may take
    file, target = _shared_memory("facepass-file"), _shared_memory("facepass-pixels")
    descriptors = (theirs.fileno(), file, target)
    command = [sys.executable, "-P", "-m", "facepass.embedding.decoder_process", *map(str, descriptors)]
    try:
        process = subprocess.Popen(
            command, env=_environment(), pass_fds=descriptors, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
    except OSError:
        ours.close()
        os.close(file)
        os.close(target)
        raise
    finally:
        theirs.close()
    running = _Running(process, ours, file, target)
    try:
        running.wait_until_ready()
    except _LostError:
        running.end(kill=True)
        raise
    ours.settimeout(patience)
    return running


def _shared_memory(name: str) -> int:
    """A descriptor of anonymous memory that may grow but never shrink: reading beyond its end is a SIGBUS."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return descriptor


def _environment() -> dict[str, str]:
    """The environment of this process without secrets; one thread is all that a decoder uses."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
