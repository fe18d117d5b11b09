"""The document of the selfie page: its policy, its language, the templates of photo addresses, its packing."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from facepass.schemas.errors import PermanentError
from facepass.schemas.settings import PageSettings, read_settings
from facepass.search_api.page.assets import read_assets
from facepass.search_api.page.routes import document_headers, preferred_language

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("en-US,en;q=0.9,ru;q=0.8", "en"),
        ("de-DE,de;q=0.9,ru;q=0.5,en;q=0.4", "ru"),
        ("en;q=0.1, RU;q=0.2", "ru"),
        ("ru;q=0, en;q=0.1", "en"),
        ("fr,*", "en"),
        ("ru;q=x,;;,en;q=nan", "en"),
    ],
)
def test_the_language_that_a_browser_prefers(accept: str, language: str) -> None:
    assert preferred_language(accept) == language


def test_the_policy_allows_this_server_and_the_photos_host_alone() -> None:
    settings = PageSettings(
        photo_url="https://photos.example:8443/{session_id}/{photo_id}.jpg",
        thumbnail_url="https://small.example/{photo_id}",
    )
    policy = dict(one.split(" ", 1) for one in document_headers(settings)["Content-Security-Policy"].split("; "))
    hosts = "https://photos.example:8443 https://small.example"
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "worker-src": "'self'",
        "style-src": "'self'",
        "img-src": f"'self' blob: {hosts}",
        "connect-src": f"'self' {hosts}",
        "media-src": "'self' blob:",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    bare = document_headers(PageSettings())["Content-Security-Policy"]
    assert "http" not in bare


def test_nothing_stands_inline_and_no_other_host_is_named() -> None:
    assets = read_assets()
    document = assets.document
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", document) == []
    assert re.findall(r"<script[^>]*>", document) == ['<script type="module" src="${base}js/main.js">']
    for name, content in assets.contents.items():
        hosts = re.findall(r"https?://[^\s\"'/]+", content.decode())
        assert set(hosts) <= {"http://www.w3.org"}, name  # the namespace of SVG


@pytest.mark.parametrize(
    "template",
    [
        "",
        "https://photos.example/{session_id}/{photo_id}.jpg",
        "http://127.0.0.1:9000/bucket/{photo_id}?small=1&of={session_id}",
        "https://[2001:db8::1]:8443/{photo_id}",
        "/photos/{photo_id}",
    ],
)
def test_templates_that_are_taken(template: str) -> None:
    assert PageSettings(photo_url=template).photo_url == template


@pytest.mark.parametrize(
    "template",
    [
        "photos/{photo_id}",
        "//photos.example/{photo_id}",
        "javascript:alert('{photo_id}')",
        "https://photos.example/all.jpg",
        "https://photos.example/{session_id}",
        "https://photos.example/{photo_id}/{size}",
        "https://photos.example/{photo_id}/{",
        "https://{session_id}.example/{photo_id}",
        "https://photos.example; script-src *;/{photo_id}",
        "https://user@photos.example/{photo_id}",
        "https://photos.example/{photo_id} ",
        "https://photos.example/{photo_id}\r\nX: y",
    ],
)
def test_templates_that_are_refused_name_the_setting(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPASS_THUMBNAIL_URL", template)
    with pytest.raises(PermanentError, match="FACEPASS_THUMBNAIL_URL: "):
        read_settings(PageSettings)


def test_the_wheel_has_every_file_of_the_page() -> None:
    packed = {file.relative_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    static = Path(str(files("facepass.search_api.page"))) / "static"
    wanted = {str(file.relative_to(ROOT)) for file in static.rglob("*") if file.is_file()}
    assert len(wanted) > 20
    assert wanted <= packed
