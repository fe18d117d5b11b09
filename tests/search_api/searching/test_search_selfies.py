"""Searches with several selfies over HTTP, and the warnings on real photos, good and bad."""

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from support.people import read_labels, single_person
from support.samples import astronaut_jpeg, astronaut_png, coffee_png, group_jpeg
from support.scenes import Person, jpeg, scaled
from support.search_stack import SearchStack, beside, open_search_stack

from facepass.embedding import FaceEngine, decode_image
from facepass.schemas.faces import SelfieFaces
from facepass.schemas.http.search_bodies import SearchAnswer
from facepass.schemas.settings import DatabaseSettings, SearchSettings
from facepass.search_api.searching.selfies import query_of

Pixels = np.ndarray


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


async def search(stack: SearchStack, *selfies: bytes, **fields: object) -> httpx.Response:
    files = [("file" if number % 2 else "image", data) for number, data in enumerate(selfies)]
    return await stack.client.post("/api/v1/search", files=files, data={"session_id": "s1"} | fields)


def warned(response: httpx.Response) -> list[tuple[int, str]]:
    answer = SearchAnswer.model_validate(response.json())
    return [(warning.selfie, str(warning.code)) for warning in answer.warnings]


def halves() -> tuple[bytes, bytes]:
    """Two selfies of the astronaut that differ a little."""
    return astronaut_png(), beside((astronaut_png(), 0.8))


async def test_several_selfies_find_what_one_finds(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png(), "others": group_jpeg()})
    for selfies in (halves(), (*halves(), astronaut_jpeg(), *halves())):
        response = await search(stack, *selfies)
        assert [match["photo_id"] for match in response.json()["matches"]] == ["me"], response.text
        assert warned(response) == []


async def test_a_single_good_selfie_has_no_warning(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    assert (await search(stack, astronaut_png())).json()["warnings"] == []


async def test_selfies_of_others_and_without_a_face_are_left_out_and_named(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png(), "others": group_jpeg()})
    response = await search(stack, group_jpeg(), astronaut_png(), coffee_png(), astronaut_jpeg())
    assert [match["photo_id"] for match in response.json()["matches"]] == ["me"]
    assert warned(response) == [(0, "outlier"), (2, "no_face")]
    boxes = [warning["box"] for warning in response.json()["warnings"]]
    assert boxes[0]["width"] > 50
    assert boxes[1] is None
    assert response.json()["faces_in_selfie"] == 1


async def test_no_face_on_any_selfie_is_an_error(stack: SearchStack) -> None:
    await stack.register("s1", "p1")
    response = await search(stack, coffee_png(), coffee_png())
    assert (response.status_code, response.json()["code"]) == (400, "no_face")


async def test_several_faces_are_a_warning_with_the_box_of_the_one_used(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    response = await search(stack, beside((astronaut_png(), 2.0), (group_jpeg(), 1.0)))
    assert warned(response) == [(0, "several_faces")]
    box = response.json()["warnings"][0]["box"]
    assert 250 < box["x"] < 500
    assert 120 < box["width"] < 300
    assert response.json()["faces_in_selfie"] > 2


async def test_a_broken_selfie_among_good_ones_is_refused_and_named(stack: SearchStack) -> None:
    await stack.register("s1", "p1")
    response = await search(stack, astronaut_png(), astronaut_png()[:1000])
    assert (response.status_code, response.json()["code"]) == (422, "damaged_image")
    assert response.json()["details"] == {"selfie": 1}


async def test_six_selfies_are_refused(stack: SearchStack) -> None:
    response = await search(stack, *[astronaut_jpeg()] * 6)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")
    assert response.json()["details"] == {"field": "file", "limit": 5}


async def test_a_large_body_takes_several_slots(database_settings: DatabaseSettings, engine: FaceEngine) -> None:
    """Slots bound memory too. Of two slots, of selfies of 300 kB each, such a body takes both."""
    narrow = SearchSettings(searches_at_once=2, selfie_max_bytes=900_000)
    async with open_search_stack(database_settings, engine, search=narrow) as stack:
        await stack.index("s1", {"me": astronaut_png()})
        reached: list[int] = []

        async def body(length: int) -> AsyncIterator[bytes]:
            reached.append((await search(stack, astronaut_jpeg())).status_code)
            yield b"x" * length

        for length in (200_000, 2_000_000):
            headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(length)}
            await stack.client.post("/api/v1/search", content=body(length), headers=headers)
        assert reached == [200, 503]
        assert (await search(stack, *[astronaut_png()] * 3)).status_code == 200


# --- warnings on real photos ---


@pytest.fixture(scope="module")
def people(engine: FaceEngine, photos_dir: Path) -> dict[str, Person]:
    """Every single-person photo with its face."""
    found = {}
    for file, name in single_person(read_labels(photos_dir)).items():
        data = (photos_dir / file).read_bytes()
        face = max(engine.analyse_photo(data).faces, key=lambda face: face.box.width)
        found[file] = Person(name=name, pixels=decode_image(data, max_pixels=10**8).pixels, face=face)
    return found


def cut_out(person: Person, width: float) -> Pixels:
    """Head and shoulders, the face scaled to a width."""
    pixels, factor = scaled(person, width)
    box = person.face.box
    x, y, reach = (box.x + box.width / 2) * factor, (box.y + box.height / 2) * factor, 2.2 * width
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    return pixels[top : int(y + reach), left : int(x + reach)]


def moved(pixels: Pixels, by: int) -> Pixels:
    line = np.zeros((by, by), np.float32)
    line[by // 2] = 1 / by
    return cv2.filter2D(pixels, -1, line)


def codes(engine: FaceEngine, pixels: Pixels) -> set[str]:
    ok, data = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert ok
    faces: SelfieFaces = engine.analyse_selfie(data.tobytes(), max_bytes=10**8, max_pixels=10**8)
    assert faces.largest is not None
    return {str(warning.code) for warning in query_of([faces], engine.spec.operating_point).warnings}


BAD: Mapping[str, tuple[str, Callable[[Person], Pixels]]] = {
    "30 pixels wide": ("too_small", lambda person: cut_out(person, 30)),
    "out of focus": ("blurred", lambda person: cv2.GaussianBlur(cut_out(person, 150), (0, 0), 5)),
    "camera moved": ("blurred", lambda person: moved(cut_out(person, 150), 25)),
    "in a tenth of the light": ("too_dark", lambda person: (cut_out(person, 150) * 0.1).astype(np.uint8)),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_selfies_are_told(
    engine: FaceEngine, people: Mapping[str, Person], fault: str, figures: list[str]
) -> None:
    code, spoil = BAD[fault]
    found = [codes(engine, spoil(person)) for person in people.values()]
    told = sum(code in warnings for warnings in found)
    others = sum(len(warnings - {code}) for warnings in found)
    figures.append(f"selfies {fault}: {told} of {len(found)} warned of as {code}, {others} other warnings")
    assert told >= 0.85 * len(found)


GOOD: Mapping[str, Callable[[Person], Pixels]] = {
    "as they are": lambda person: cut_out(person, min(person.face.box.width, 300)),
    "60 pixels wide": lambda person: cut_out(person, 60),
    "in half of the light": lambda person: (cut_out(person, 150) * 0.5).astype(np.uint8),
    "a little blurred": lambda person: cv2.GaussianBlur(cut_out(person, 150), (0, 0), 1.0),
}


@pytest.mark.parametrize("kind", GOOD)
def test_good_selfies_are_left_in_peace(
    engine: FaceEngine, people: Mapping[str, Person], kind: str, figures: list[str]
) -> None:
    found = [codes(engine, GOOD[kind](person)) for person in people.values()]
    bothered = [warnings for warnings in found if warnings]
    figures.append(f"selfies {kind}: {len(bothered)} of {len(found)} with a warning")
    assert bothered == []


def test_two_selfies_are_better_than_one_and_a_bad_one_does_little_harm(
    engine: FaceEngine, people: Mapping[str, Person], figures: list[str]
) -> None:
    """Every pair of photos of a person, against the person's other photos."""
    good = {file: cut_out(person, 150) for file, person in people.items()}
    blurred = {file: cv2.GaussianBlur(picture, (0, 0), 7) for file, picture in good.items()}
    alone, both, spoilt = [], [], []
    for one, person in people.items():
        twins = [file for file, other in people.items() if other.name == person.name and file != one]
        for two in twins:
            others = [people[file].face.embedding for file in twins if file != two]
            for pictures, cosines in (
                ([good[one]], alone),
                ([good[one], good[two]], both),
                ([good[one], blurred[two]], spoilt),
            ):
                query = query_of([analysed(engine, picture) for picture in pictures], engine.spec.operating_point)
                cosines += [float(query.embedding @ other) for other in others]
    figures.append(
        f"mean cosine to other photos of the person: one selfie {np.mean(alone):.3f}, two {np.mean(both):.3f},"
        f" a good and a blurred one {np.mean(spoilt):.3f}"
    )
    assert np.mean(both) > np.mean(alone) + 0.02
    assert np.mean(spoilt) > np.mean(alone) - 0.02


_ANALYSED: dict[int, SelfieFaces] = {}


def analysed(engine: FaceEngine, picture: Pixels) -> SelfieFaces:
    if id(picture) not in _ANALYSED:
        data = jpeg(picture, quality=95)
        _ANALYSED[id(picture)] = engine.analyse_selfie(data, max_bytes=10**8, max_pixels=10**8)
    return _ANALYSED[id(picture)]
