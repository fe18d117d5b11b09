"""What every answer brings for browsers and caches, and which pages may call the API."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from support.guarded import client_of
from support.running import Running
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.settings import AccessSettings, DatabaseSettings
from facepass.search_api import create_app

PAGE = "https://photos.example"


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


def with_cors(stack: SearchStack, origins: str) -> httpx.AsyncClient:
    return client_of(create_app(replace(stack.parts, access=AccessSettings(cors_origins=origins))))


async def test_every_answer_has_the_security_headers_and_none_a_traceback(stack: SearchStack) -> None:
    @stack.app.get("/defect")
    def defect() -> None:
        raise RuntimeError("defect-with-a-secret")

    answers = [
        await stack.client.request(method, path)
        for method, path, _ in (
            *(("GET", f"/api/v1/search/status/{session}", 200) for session in ("s1", "%00")),
            ("GET", "/nowhere", 404),
            ("DELETE", "/api/v1/search", 405),
            ("POST", "/api/v2/search", 422),
            ("GET", "/defect", 500),
            ("GET", "/docs", 200),
            ("GET", "/openapi.json", 200),
            ("GET", "/metrics", 200),
            ("OPTIONS", "/api/v1/search", 405),
        )
    ]
    assert {answer.status_code for answer in answers} >= {200, 404, 405, 422, 500}
    for answer in answers:
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers
        assert "strict-transport-security" not in headers
        assert "Traceback" not in answer.text
        assert "defect-with-a-secret" not in answer.text


async def test_the_documentation_page_runs_its_own_script_and_no_other(stack: SearchStack) -> None:
    page = await stack.client.get("/docs")
    policy = page.headers["content-security-policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    named = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{named}';" in policy
    assert "script-src 'unsafe" not in policy
    asset = await stack.client.get("/docs/assets/swagger-ui.css")
    assert asset.headers.get("cache-control") is None
    assert asset.headers["x-content-type-options"] == "nosniff"


async def test_only_pages_of_the_set_origins_may_call(stack: SearchStack) -> None:
    client = with_cors(stack, f"{PAGE}, http://localhost:3000")
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    allowed = await client.options("/api/v1/search", headers={"Origin": PAGE} | asked)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE
    refused = await client.options("/api/v1/search", headers={"Origin": "https://other.example"} | asked)
    assert "access-control-allow-origin" not in refused.headers
    for path in ("/api/v1/search/status/s1", "/nowhere"):
        answer = await client.get(path, headers={"Origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers
        answer = await client.get(path, headers={"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in answer.headers


async def test_a_star_lets_every_page_call_and_no_cookies_with_it(stack: SearchStack) -> None:
    answer = await with_cors(stack, "*").get("/api/v1/search/status/s1", headers={"Origin": PAGE, "Cookie": "a=b"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("setting", ["photos.example", "https://photos.example/", "https://", "null", "ftp://a.b"])
async def test_an_unusable_origin_is_named(stack: SearchStack, setting: str) -> None:
    with pytest.raises(PermanentError, match="FACEPASS_CORS_ORIGINS") as caught:
        with_cors(stack, setting)
    assert caught.value.code is ErrorCode.INVALID_SETTING


def test_the_served_answer_names_no_server_and_believes_no_forwarded_address(running: Running) -> None:
    with running.client() as client:
        answers = [
            client.post("/api/v1/search", headers={"X-Forwarded-For": f"198.51.100.{number}"})
            for number in range(3)
        ]
    assert all("server" not in answer.headers for answer in answers)
    assert int(answers[-1].headers["x-ratelimit-remaining"]) <= 997  # three of the same address
