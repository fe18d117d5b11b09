"""Hostile image files: each a typed error or a picture, the process lives, and the next good selfie is found."""

import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image
from support.hostile import KINDS, Hostile, hostile_files, portrait, saved
from support.running import PATIENCE_SECONDS, Running, found, new_session
from support.samples import astronaut_jpeg, astronaut_png, group_jpeg
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine, open_engine
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.settings import DatabaseSettings, ModelSettings

SEED = int(os.environ.get("FACEPASS_HOSTILE_SEED", "1"))
"""Another number makes other files."""

EACH = 24

CODES = {
    ErrorCode.UNSUPPORTED_IMAGE,
    ErrorCode.DAMAGED_IMAGE,
    ErrorCode.TOO_MANY_PIXELS,
    ErrorCode.DECODER_FAILED,
}


@pytest.fixture(scope="module")
def files() -> list[Hostile]:
    return list(hostile_files(SEED, EACH))


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


@pytest.mark.property(17)
def test_property_17_no_file_gets_more_than_a_typed_error(
    engine: FaceEngine, files: list[Hostile], figures: list[str]
) -> None:
    def outcome(file: Hostile) -> str:
        try:
            engine.analyse_selfie(file.data, max_bytes=10_000_000, max_pixels=4096 * 4096)
        except PermanentError as error:
            assert error.code in CODES, file.name
            assert len(error.message) < 200
            return str(error.code)
        return "a picture"

    with ThreadPoolExecutor(engine.threads) as threads:
        outcomes = Counter(threads.map(outcome, files))
    assert len(files) > 300
    assert outcomes["a picture"] < len(files) / 2
    figures.append(
        f"{len(files)} hostile files: " + ", ".join(f"{n} {what}" for what, n in outcomes.most_common())
    )
    assert engine.analyse_selfie(astronaut_png(), max_bytes=10**7, max_pixels=10**7).detected == 1


def test_photos_are_no_less_safe_than_selfies(engine: FaceEngine, files: list[Hostile]) -> None:
    for file in files[::7]:
        try:
            engine.analyse_photo(file.data)
        except PermanentError as error:
            assert error.code in CODES, file.name


@pytest.mark.property(17)
def test_property_17_none_of_them_over_http_is_a_server_error(running: Running, files: list[Hostile]) -> None:
    session = new_session("hostile")
    (running.photos / "hostile-good.jpg").write_bytes(astronaut_jpeg())
    running.publish_photos(session, {"me": "hostile-good.jpg"})
    running.wait_until_settled(session, 1)
    with running.client() as client:
        statuses = Counter(_search(client, session, file.data).status_code for file in files[:: len(files) // 60])
        assert set(statuses) <= {200, 400, 413, 415, 422}, statuses
        assert sum(statuses.values()) >= 60
        assert _search(client, session, astronaut_jpeg()).json()["total_matches"] == 1


def _search(client: httpx.Client, session: str, selfie: bytes) -> httpx.Response:
    return client.post("/api/v1/search", files={"file": selfie}, data={"session_id": session, "threshold": "0.7"})


# --- good pictures of every kind ---


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_picture_finds_the_same(stack: SearchStack, kind: str) -> None:
    """Grey ones too: a face is a face."""
    await stack.index("s1", {"me": astronaut_png(), "others": group_jpeg()})
    answer = (await stack.search("s1", KINDS[kind](portrait().resize((512, 512))))).json()
    assert [match["photo_id"] for match in answer["matches"]] == ["me"], answer
    assert answer["matches"][0]["similarity"] > 0.8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_every_orientation_finds_the_same(stack: SearchStack, kind: str) -> None:
    """The stored pixels turned or mirrored, and Exif that says how to undo it."""
    await stack.index("s1", {"me": astronaut_png(), "others": group_jpeg()})
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    answers = []
    for orientation, transposition in undo.items():
        picture = portrait().resize((512, 512))
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = picture if transposition is None else picture.transpose(Image.Transpose(transposition))
        selfie = saved(stored, kind, exif=exif, quality=95, lossless=True, compress_level=1)
        answers.append((await stack.search("s1", selfie, threshold=0)).json())
    first, *others = answers
    for answer in others:
        assert [match["photo_id"] for match in answer["matches"]] == ["me", "others"]
        same = [match["cosine"] for match in first["matches"]]
        assert [match["cosine"] for match in answer["matches"]] == pytest.approx(same, abs=0.02)


async def test_a_selfie_upside_down_without_exif_is_another_picture(stack: SearchStack) -> None:
    """So the test above can fail."""
    await stack.index("s1", {"me": astronaut_png()})
    response = await stack.search("s1", saved(portrait().rotate(180), "PNG"), threshold=0)
    assert response.status_code == 400 or response.json()["matches"][0]["cosine"] < 0.6


# --- a decoder that dies ---


def decoders_of(process: psutil.Process) -> set[psutil.Process]:
    return {child for child in process.children() if "decoder_process" in " ".join(child.cmdline())}


async def test_a_decoder_killed_over_a_selfie_costs_one_search(
    database_settings: DatabaseSettings, tmp_path: Path
) -> None:
    own = psutil.Process()
    before = decoders_of(own)
    engine = open_engine(ModelSettings(cache_dir=tmp_path, threads=1))
    async with open_search_stack(database_settings, engine) as stack:
        await stack.index("s1", {"me": astronaut_png()})
        (decoder,) = decoders_of(own) - before
        decoder.suspend()
        with ThreadPoolExecutor(1) as threads:
            killing = threads.submit(_kill_over_a_picture, own, decoder, {astronaut_jpeg()})
            response = await stack.search("s1", astronaut_jpeg())
            killing.result()
        assert (response.status_code, response.json()["code"]) == (422, "decoder_failed")
        assert (await stack.search("s1", astronaut_png())).json()["total_matches"] == 1


def _kill_over_a_picture(parent: psutil.Process, decoder: psutil.Process, pictures: set[bytes]) -> None:
    """Kill a suspended decoder once it has been given one of the pictures."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not pictures & set(_given(parent, {len(picture) for picture in pictures})):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    decoder.kill()


def _given(parent: psutil.Process, lengths: set[int]) -> Iterator[bytes]:
    """What lies in the memory that a process shares with its decoders for files, cut to those lengths."""
    for path in Path(f"/proc/{parent.pid}/fd").iterdir():
        if path.is_symlink() and str(path.readlink()).startswith("/memfd:facepass-file"):
            content = path.read_bytes()
            yield from (content[:length] for length in lengths)


def test_a_decoder_killed_over_a_photo_costs_that_photo_and_no_neighbour(running: Running) -> None:
    session = new_session("killed")
    (ingest,) = [process for process in psutil.process_iter() if _is_ingest_of(process, running)]
    photos = {f"p{number}": f"{session}-{number}.jpg" for number in range(6)}
    contents = {}
    for number, (photo_id, key) in enumerate(photos.items()):
        contents[photo_id] = saved(portrait().resize((512 + number, 512)), "JPEG", quality=92)
        (running.photos / key).write_bytes(contents[photo_id])
    (running.photos / "warm-up.jpg").write_bytes(astronaut_jpeg())
    running.publish_photos(session, {"warm-up": "warm-up.jpg"})
    running.wait_until_settled(session, 1)
    victim, *others = decoders_of(ingest)
    assert victim.nice() == ingest.nice() > 0  # searches go first, also before the decoding of photos
    for other in others:
        other.kill()
    victim.suspend()
    running.publish_photos(session, photos)
    _kill_over_a_picture(ingest, victim, set(contents.values()))
    running.wait_until_settled(session, 6)
    status = running.status(session)
    assert (status["photo_count"], status["failed"], status["pending"]) == (6, 1, 0)
    assert len(found(running.search(session, astronaut_jpeg(), threshold="0.7"))) == 6


def _is_ingest_of(process: psutil.Process, running: Running) -> bool:
    try:
        mine = process.environ().get("FACEPASS_TEST_CONNECTIONS") == str(running.connections)
        return mine and "ingest" in process.cmdline()
    except psutil.Error:
        return False
