"""Decoding in processes of its own: whatever happens to a decoder costs one picture, and leaves nothing behind."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from support.samples import astronaut_jpeg, astronaut_png, group_jpeg

from facepass.embedding import decode_image
from facepass.embedding.decoders import DecoderPool, DecodingLimits
from facepass.schemas.errors import ErrorCode, PermanentError

MAX_PIXELS = 50_000_000


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    opened = DecoderPool(1)
    yield opened
    opened.close()


def decoded(pool: DecoderPool, data: bytes, longer_side: int | None = None) -> np.ndarray:
    with pool.decoded(data, max_pixels=MAX_PIXELS, longer_side=longer_side) as picture:
        return picture.pixels.copy()


def failure(pool: DecoderPool, data: bytes) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        decoded(pool, data)
    return caught.value


def children() -> list[psutil.Process]:
    """The decoders of this process."""
    return [child for child in psutil.Process().children() if "decoder_process" in " ".join(child.cmdline())]


def the_decoder(pool: DecoderPool) -> psutil.Process:
    """The one process of a pool, at rest: the one that its first picture starts."""
    before = {child.pid for child in children()}
    decoded(pool, astronaut_jpeg())
    (started,) = (child for child in children() if child.pid not in before)
    return started


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def big(kind: str, **options: object) -> bytes:
    """6 megapixels."""
    stream = io.BytesIO()
    picture = Image.open(io.BytesIO(group_jpeg())).resize((3000, 2000))
    picture.save(stream, kind, compress_level=1, method=0, **options)
    return stream.getvalue()


@pytest.mark.parametrize("picture", [astronaut_jpeg, astronaut_png])
def test_a_picture_ends_where_it_ends_whatever_was_decoded_before(
    pool: DecoderPool, picture: Callable[[], bytes]
) -> None:
    """Files lie in memory that the decoder keeps: behind a short one the rest of an earlier one is there."""
    whole = picture()
    decoded(pool, whole)
    for share in (0.99, 0.6, 0.1):
        assert failure(pool, whole[: int(share * len(whole))]).code is ErrorCode.DAMAGED_IMAGE


def turned(orientation: int) -> bytes:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.open(io.BytesIO(group_jpeg())).save(stream, "JPEG", exif=exif, quality=95)
    return stream.getvalue()


def test_the_pixels_are_those_of_decoding_here(pool: DecoderPool) -> None:
    for data in (group_jpeg(), astronaut_png(), *map(turned, range(1, 9))):
        for longer_side in (None, 300):
            here = decode_image(data, max_pixels=MAX_PIXELS, longer_side=longer_side)
            with pool.decoded(data, max_pixels=MAX_PIXELS, longer_side=longer_side) as picture:
                assert np.array_equal(picture.pixels, here.pixels)
                assert (picture.width, picture.height) == (here.width, here.height)


def test_errors_are_those_of_decoding_here(pool: DecoderPool) -> None:
    for data in (b"", b"GIF89a", group_jpeg()[:5000], astronaut_png()[:5000]):
        with pytest.raises(PermanentError) as here:
            decode_image(data, max_pixels=MAX_PIXELS)
        error = failure(pool, data)
        assert (error.code, error.message, error.details) == (
            here.value.code,
            here.value.message,
            here.value.details,
        )
    for limits in ({"max_pixels": 1000}, {"max_pixels": MAX_PIXELS, "max_bytes": 1000}):
        with pytest.raises(PermanentError) as here, pool.decoded(group_jpeg(), **limits):
            pass
        assert here.value.details == {"limit": 1000}


def test_more_callers_than_processes_take_turns() -> None:
    pool = DecoderPool(2)
    before = len(children())
    expected = [decode_image(data, max_pixels=MAX_PIXELS).pixels for data in (group_jpeg(), astronaut_png())]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: decoded(pool, (group_jpeg(), astronaut_png())[n % 2]), range(40)))
    assert all(np.array_equal(one, expected[number % 2]) for number, one in enumerate(found))
    assert len(children()) - before == 2
    pool.close()
    assert len(children()) == before


def _stopped_over_a_picture(pool: DecoderPool) -> tuple[psutil.Process, "Future[np.ndarray]", ThreadPoolExecutor]:
    """A decoder that has a picture before it, but no processor."""
    decoder = the_decoder(pool)
    decoder.suspend()
    threads = ThreadPoolExecutor(1)
    waiting = threads.submit(decoded, pool, group_jpeg())
    return decoder, waiting, threads


def _killed_over_a_picture(pool: DecoderPool) -> "Future[np.ndarray]":
    """What comes of the picture. A kill may be too early for it: then the decoder died at rest."""
    for _ in range(20):
        decoder, waiting, threads = _stopped_over_a_picture(pool)
        with threads:
            wait_until(waiting.running)
            time.sleep(0.1)
            decoder.kill()
        if waiting.exception() is not None:
            break
    return waiting


def test_a_decoder_that_dies_costs_one_picture(pool: DecoderPool) -> None:
    with pytest.raises(PermanentError) as caught:
        _killed_over_a_picture(pool).result()
    assert caught.value.code is ErrorCode.DECODER_FAILED
    assert decoded(pool, group_jpeg()).shape == (886, 1280, 3)


def test_a_decoder_that_does_not_answer_is_killed() -> None:
    pool = DecoderPool(1, patience=3.0)
    decoder, waiting, threads = _stopped_over_a_picture(pool)
    with threads, pytest.raises(PermanentError, match="in time") as caught:
        waiting.result()
    assert caught.value.code is ErrorCode.DECODER_FAILED
    assert gone(decoder)
    assert decoded(pool, group_jpeg()).shape == (886, 1280, 3)
    pool.close()


def test_a_decoder_that_died_at_rest_is_no_fault_of_the_next_picture(pool: DecoderPool) -> None:
    decoder = the_decoder(pool)
    decoder.kill()
    wait_until(lambda: gone(decoder))
    assert decoded(pool, group_jpeg()).shape == (886, 1280, 3)


def test_signals_to_the_whole_group_do_not_end_a_decoder(pool: DecoderPool) -> None:
    decoder = the_decoder(pool)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        decoder.send_signal(number)
    assert decoded(pool, group_jpeg()).shape == (886, 1280, 3)
    assert decoder.is_running()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_too_much_memory_is_refused_and_the_decoder_goes_on(kind: str) -> None:
    pool = DecoderPool(1, limits=DecodingLimits(bytes=2**20, bytes_a_pixel=1))
    decoder = the_decoder(pool)
    error = failure(pool, big(kind))
    assert (error.code, "memory" in error.message) == (ErrorCode.DECODER_FAILED, True)
    assert decoded(pool, astronaut_jpeg()).shape == (512, 512, 3)
    assert decoder.is_running()
    pool.close()


def test_too_much_time_ends_the_decoder() -> None:
    pool = DecoderPool(1, limits=DecodingLimits(seconds=0.1, seconds_a_megapixel=0.001))
    decoder = the_decoder(pool)
    data = big("JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    error = failure(
        pool, data[:-2] + 190 * scan + data[-2:]
    )  # each goes over the whole picture: more than a second
    assert (error.code, "longer" in error.message) == (ErrorCode.DECODER_FAILED, True)
    assert gone(decoder)
    assert decoded(pool, astronaut_jpeg()).shape == (512, 512, 3)
    pool.close()


def test_the_limits_leave_good_pictures_alone() -> None:
    """The costliest kinds; memory beside the pixels would hide what they take of a small picture."""
    pool = DecoderPool(1, limits=DecodingLimits(bytes=8 * 2**20))
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    cmyk = Image.open(io.BytesIO(group_jpeg())).resize((3000, 2000)).convert("CMYK")
    cmyk.save(stream, "JPEG", progressive=True, exif=exif, quality=95)
    for data in (stream.getvalue(), big("PNG", exif=exif), big("WEBP", exif=exif)):
        assert decoded(pool, data).shape == (3000, 2000, 3)
    pool.close()


def test_a_large_picture_leaves_no_large_memory_behind(pool: DecoderPool) -> None:
    of_others = shared_memory()
    for data in (big("JPEG") + bytes(80_000_000), group_jpeg()):
        decoded(pool, data)
        assert 0 < shared_memory() - of_others < 80_000_000


def shared_memory() -> int:
    """Bytes of anonymous memory that this process shares with its decoders."""
    opened = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    names = [path for path in opened if str(path.readlink()).startswith("/memfd:facepass")]
    return sum(path.stat().st_blocks * 512 for path in names)


def test_a_decoder_has_no_files_no_secrets_and_leaves_no_core(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FACEPASS_DATABASE", "FACEPASS_API_KEYS", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "secret")
    decoder = the_decoder(pool)
    if os.geteuid():  # what leaves no core shows its insides to root alone
        with pytest.raises(psutil.AccessDenied):
            decoder.environ()
    else:
        assert "secret" not in decoder.environ().values()
        opened = {str(path.readlink()).split(":")[0] for path in Path(f"/proc/{decoder.pid}/fd").iterdir()}
        assert opened == {"/dev/null", "/memfd", "socket"}
    (line,) = (
        line for line in Path(f"/proc/{decoder.pid}/limits").read_text().splitlines() if "core file" in line
    )
    assert line.split()[4:6] == ["0", "0"]
    assert Path(f"/proc/{decoder.pid}/oom_score_adj").read_text() == "500\n"


def test_decoders_end_with_their_parent_however_it_ends() -> None:
    script = """
import os, signal, sys
sys.path[:0] = sys.argv[1:]
from support.samples import astronaut_jpeg
from facepass.embedding.decoders import DecoderPool
pool = DecoderPool(1)
with pool.decoded(astronaut_jpeg(), max_pixels=10**7):
    pass
print("decoded", flush=True)
signal.pause()
"""
    command = [sys.executable, "-c", script, str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "decoded\n"
        (decoder,) = psutil.Process(parent.pid).children()
        parent.kill()
    wait_until(lambda: gone(decoder))


def test_a_decoder_imports_no_more_than_decoding_needs() -> None:
    script = "import sys, facepass.embedding.decoder_process; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "cv2" in loaded
    assert not loaded & {"openvino", "onnxruntime", "onnx", "pydantic", "structlog", "psycopg", "asyncio", "PIL"}
