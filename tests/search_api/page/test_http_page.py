"""GET /sessions/{id}/interface and the files behind it, over HTTP."""

import html
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import quote, urljoin

import pytest
from support.samples import astronaut_png
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.settings import AccessSettings, DatabaseSettings, PageSettings
from facepass.search_api.page.assets import read_assets

PAGE = PageSettings(photo_url="https://photos.example/{session_id}/{photo_id}")


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine, page=PAGE) as opened:
        yield opened


def interface(session_id: str, version: str = "v1") -> str:
    return f"/api/{version}/sessions/{quote(session_id, safe='')}/interface"


def loaded(address: str, document: str) -> dict[str, str]:
    """Addresses that the document refers to, resolved as a browser does, by how it refers to them."""
    found = re.findall(r'<(?:link|script)[^>]*(?:href|src)="([^"]+)"', document)
    return {name: urljoin(f"http://facepass.test{address}", name) for name in found}


async def test_the_status_follows_the_session_and_the_page_comes_with_each(stack: SearchStack) -> None:
    await stack.announce("open", name="Open", facepass_enabled=True)
    await stack.announce("off", name="Off", facepass_enabled=False)
    await stack.index("unannounced", {"me": astronaut_png()})
    for session_id, status in {"open": 200, "off": 403, "unannounced": 200, "unknown": 404}.items():
        for version in ("v1", "v2"):
            answer = await stack.client.get(interface(session_id, version))
            assert answer.status_code == status, session_id
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert "<title>Find your photos</title>" in answer.text
            assert "Off" not in answer.text


async def test_where_guests_need_a_token_the_document_tells_nothing_of_the_session(
    database_settings: DatabaseSettings, engine: FaceEngine
) -> None:
    access = AccessSettings(session_tokens="required")
    async with open_search_stack(database_settings, engine, access=access) as stack:
        await stack.announce("off", name="Off", facepass_enabled=False)
        assert (await stack.client.get(interface("off"))).status_code == 200
        assert (await stack.client.get(interface("unknown"))).status_code == 200


async def test_everything_that_the_document_refers_to_is_there_and_may_be_kept_for_ever(
    stack: SearchStack,
) -> None:
    await stack.announce("a/b", facepass_enabled=True)
    address = interface("a/b", "v2")
    document = await stack.client.get(address)
    addresses = loaded(address, document.text)
    assert len(addresses) > 15
    for name, resolved in addresses.items():
        answer = await stack.client.get(resolved)
        assert answer.status_code == 200, name
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        kind = {"js": "text/javascript", "css": "text/css", "json": "application/json", "svg": "image/svg+xml"}
        assert answer.headers["content-type"].startswith(kind[name.rsplit(".", 1)[1]])


async def test_the_document_is_asked_for_anew_and_sent_again_only_when_it_differs(stack: SearchStack) -> None:
    await stack.announce("s1", facepass_enabled=True)
    first = await stack.client.get(interface("s1"))
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["vary"] == "Accept-Language"
    known = {"If-None-Match": first.headers["etag"]}
    again = await stack.client.get(interface("s1"), headers=known)
    assert (again.status_code, again.content) == (304, b"")
    russian = await stack.client.get(interface("s1"), headers=known | {"Accept-Language": "ru"})
    assert russian.status_code == 200
    assert russian.headers["content-language"] == "ru"
    assert '<html lang="ru">' in russian.text
    assert "Найдите свои фото" in russian.text


@pytest.mark.parametrize(
    "session_id",
    ['"><script>alert(1)</script>', "$base ${title} $$", "a\r\nb\x85\u2028&amp;", "свадьба 🎉", "'/../..%2f"],
)
async def test_any_id_reaches_the_pages_script_as_it_is(stack: SearchStack, session_id: str) -> None:
    await stack.announce(session_id, facepass_enabled=True)
    answer = await stack.client.get(interface(session_id))
    assert answer.status_code == 200
    (content,) = re.findall(r'<meta name="facepass" content="([^"]*)">', answer.text)
    values = json.loads(html.unescape(content))
    assert values["session"] == session_id
    assert values["photo_url"] == values["thumbnail_url"] == PAGE.photo_url
    assert len(re.findall("<script", answer.text)) == 1


async def test_another_versions_files_are_served_but_not_kept(stack: SearchStack) -> None:
    """While replicas are replaced one by one, a page of the old one may ask the new one."""
    answer = await stack.client.get("/api/v1/page/0123456789abcdef/js/main.js")
    assert answer.content == read_assets().contents["js/main.js"]
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["", "js", "index.html", "js/none.js", "../routes.py", "%2e%2e/routes.py", "a%2Fb"]
)
async def test_other_files_are_not_found(stack: SearchStack, name: str) -> None:
    answer = await stack.client.get(f"/api/v1/page/{read_assets().version}/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


async def test_the_detector_is_served(stack: SearchStack) -> None:
    answer = await stack.client.get(f"/api/v1/page/{read_assets().version}/detector.bin")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert len(answer.content) == 101_708
    assert "immutable" in answer.headers["cache-control"]
