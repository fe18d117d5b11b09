"""A guest with a browser: opens the page, is watched for requests and violations, leaves screenshots."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, ConsoleMessage, Page, expect

ARTEFACTS = Path(__file__).parents[2] / "artefacts" / "browser"
"""Where the screenshots lie after a run. Ignored by git."""

PHONE = {"width": 390, "height": 844}

REPORT_VIOLATIONS = """
document.addEventListener('securitypolicyviolation', (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
"""

_VISIBLE_PICTURES = """
Promise.all([...document.images]
  .filter((image) => image.src && image.offsetParent && image.getBoundingClientRect().top < innerHeight)
  .map((image) => image.decode().catch(() => {})))
"""

_NETWORK = "Failed to load resource"
"""Chromium's own line about an answer of 4xx or 5xx: expected where a test asks for one."""


@dataclass
class Guest:
    """One guest, with a browser context of its own.

    Attributes:
        requested: addresses of all requests, `blob:` ones included.
        complaints: what must not happen: violations of the policy, errors of the page's scripts.
    """

    context: BrowserContext
    page: Page
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and _NETWORK not in message.text:
            self.complaints.append(message.text)

    async def open(self, server: str, session_id: str, *, fragment: str = "") -> None:
        await self.page.goto(f"{server}/api/v1/sessions/{quote(session_id, safe='')}/interface{fragment}")

    async def sees(self, view: str) -> None:
        await expect(self.page.locator("body")).to_have_attribute("data-view", view, timeout=60_000)

    async def sees_problem(self, name: str, title: str) -> None:
        await self.sees("problem")
        await expect(self.page.locator("#problem-title")).to_have_text(title)
        await self.examine(name)

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    async def choose(self, picture: bytes, *, name: str = "me.jpg", kind: str = "image/jpeg") -> None:
        """Pick a file instead of the camera, on whichever view offers it."""
        await self.page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": picture})

    async def take_selfie(self) -> None:
        """From the start over the camera to whatever the search says."""
        await self.sees("start")
        await self.page.locator('section[data-view="start"] [data-act="camera"]').click()
        await self.page.locator("#shutter:enabled").click()

    async def pictures(self) -> None:
        """Wait until what can be seen has its pictures."""
        await self.page.evaluate(_VISIBLE_PICTURES)

    async def found(self) -> set[str]:
        """Ids of the photos that are shown."""
        return set(await self.page.locator(".photo .id").all_text_contents())

    async def examine(self, name: str) -> None:
        """Keep a screenshot of this state, and let axe-core look at it."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        await self.pictures()
        await self.page.screenshot(path=ARTEFACTS / f"{name}.png", animations="disabled")
        results = await Axe().run(self.page)
        assert results.violations_count == 0, f"{name}: {results.generate_report()}"

    def check(self, *servers: str) -> None:
        """Nothing was asked of another host, no policy violated, no script failed."""
        own = {urlsplit(server).netloc for server in servers}
        asked = {urlsplit(url).netloc for url in self.requested if not url.startswith("blob:")}
        assert asked <= own
        assert self.complaints == []
