"""Ids in a URL's path: each arrives as it was, and no id can pass for a part of the route."""

from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import example, given
from hypothesis import strategies as st

from facepass.search_api.http.errors import answer_errors
from facepass.search_api.http.paths import PhotoInPath, SegmentPaths, SessionInPath


async def one(session_id: SessionInPath) -> list[str]:
    return ["one", session_id]


async def photos(session_id: SessionInPath) -> list[str]:
    return ["photos", session_id]


async def photo(session_id: SessionInPath, photo_id: PhotoInPath) -> list[str]:
    return ["photo", session_id, photo_id]


async def rest(session_id: SessionInPath) -> list[str]:
    return ["rest", session_id]


def application() -> FastAPI:
    app = FastAPI()
    app.add_api_route("/api/sessions/{session_id:segment}", one)
    app.add_api_route("/api/sessions/{session_id:segment}/photos", photos)
    app.add_api_route("/api/sessions/{session_id:segment}/photos/{photo_id:segment}", photo)
    app.add_api_route("/api/status/{session_id:rest}", rest)
    app.add_middleware(SegmentPaths)
    answer_errors(app)
    return app


APP = application()


async def get(path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://test") as client:
        return await client.get(path)


IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255).filter(
    lambda text: text not in {".", ".."}
)


@pytest.mark.property(15)
@given(session_id=IDS, photo_id=IDS)
@example(session_id="a/photos", photo_id="/")
@example(session_id="photos", photo_id="b\n")
@example(session_id="a%2Fb", photo_id="%2F%252F")
@example(session_id="я💍" * 127, photo_id="?#&;=+ ")
async def test_property_15_any_id_in_a_path_is_data(session_id: str, photo_id: str) -> None:
    session, photo = quote(session_id, safe=""), quote(photo_id, safe="")
    assert (await get(f"/api/sessions/{session}")).json() == ["one", session_id]
    assert (await get(f"/api/sessions/{session}/photos")).json() == ["photos", session_id]
    assert (await get(f"/api/sessions/{session}/photos/{photo}")).json() == ["photo", session_id, photo_id]
    assert (await get(f"/api/status/{session}")).json() == ["rest", session_id]


async def test_the_rest_of_a_path_takes_slashes_of_both_kinds() -> None:
    assert (await get("/api/status/a/b%2Fc//d")).json() == ["rest", "a/b/c//d"]


@pytest.mark.property(15)
@pytest.mark.parametrize("invalid", ["", "%00", "x" * 256, "%FF", "a%C0%AF", "%ED%B0%AF", "%2F%FF", "%D1"])
async def test_property_15_invalid_ids_in_a_path_are_refused(invalid: str) -> None:
    paths = {
        f"/api/sessions/{invalid}/photos": "session_id",
        f"/api/sessions/s/photos/{invalid}": "photo_id",
        f"/api/status/{invalid}": "session_id",
    }
    for path, field in paths.items():
        response = await get(path)
        assert response.status_code == 422, path
        assert (response.json()["code"], response.json()["details"]) == ("invalid_id", {"field": field})
        assert len(response.content) < 300


async def test_an_encoded_slash_is_no_part_of_a_route() -> None:
    assert (await get("/api/sessions%2Fs")).status_code == 404
    assert (await get("/api/sessions/s%2Fphotos")).json() == ["one", "s/photos"]
