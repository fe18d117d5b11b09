"""The JavaScript of Pixora's own documents, unchanged, in a real browser against the running application."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, async_playwright
from support.live_server import live_server
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.settings import DatabaseSettings

SOURCE = """
// Валидация сессии
const response = await fetch(`/api/v1/sessions/validate/${sessionId}`);
const data = await response.json();

if (data.valid) {
    // Сессия валидна, показать интерфейс
} else {
    // Показать ошибку: data.error
}
"""
"""Word for word. It looks at no status, so the body must say everything in each of them."""

PAGE = """<!doctype html><title>Pixora</title><script type="module">
const sessionId = "%s";
%s
document.body.innerText = JSON.stringify([data.valid, data.error, data.session && data.session.id]);
</script>"""


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


@pytest.fixture(scope="session")
def chromium() -> Path:
    path = Path("/usr/bin/chromium")
    if not path.exists():
        pytest.skip("no Chromium: install the Debian package chromium")
    return path


@pytest.fixture
async def page(chromium: Path) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        # as root Chromium starts only without its sandbox; the pages are ours
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield await browser.new_page()
        await browser.close()


async def validated(page: Page, base: str, session_id: str) -> list[object]:
    """What Pixora's page makes of a session; it is served from the same origin, as it was."""

    async def serve(route: Route) -> None:
        await route.fulfill(content_type="text/html; charset=utf-8", body=PAGE % (session_id, SOURCE))

    await page.route("**/pixora.html", serve)
    await page.goto(f"{base}/pixora.html")
    shown = await page.wait_for_function("document.body && document.body.innerText")
    result: list[object] = await page.evaluate("text => JSON.parse(text)", await shown.json_value())
    await page.unroute("**/pixora.html")
    return result


async def test_the_source_documents_javascript_runs_unchanged(stack: SearchStack, page: Page) -> None:
    await stack.announce("4711", name="Anna and Boris")
    await stack.announce("off", facepass_enabled=False)
    async with live_server(stack.app) as base:
        assert await validated(page, base, "4711") == [True, None, "4711"]
        assert await validated(page, base, "off") == [False, "FacePass is switched off for this session", None]
        assert await validated(page, base, "unknown") == [False, "nothing is known of this session", None]
