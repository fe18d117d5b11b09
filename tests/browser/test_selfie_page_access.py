"""The selfie page for everybody: in two languages, by keyboard alone, on small screens."""

import re

import cv2
import numpy as np
import pytest
from browser.conftest import Event, NewGuest, Server
from browser.guests import Guest
from playwright.async_api import expect
from support.samples import astronaut_png, group_jpeg

from facepass.embedding import FaceEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_russian_by_the_browsers_language_and_english_by_the_switch(
    new_guest: NewGuest, with_pictures: Server, event: Event
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos, language="ru-RU") as guest:
        page = guest.page
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await expect(page.locator("html")).to_have_attribute("lang", "ru")
        await expect(page).to_have_title("Найдите свои фото")
        await guest.examine("russian-start")
        await guest.take_selfie()
        await guest.sees("results")
        await expect(page.locator("h1:visible")).to_have_text("6 фото с вами")
        await expect(page.locator("#results-searched")).to_have_text("Просмотрено 15 фотографий")
        await page.locator(".not-me").first.click()
        await expect(page.locator("#hidden-count")).to_have_text("Вы скрыли 1 фотографию.")
        await page.locator(".not-me").first.click()
        await expect(page.locator("#hidden-count")).to_have_text("Вы скрыли 2 фотографии.")
        await guest.examine("russian-results")
        await guest.button("English").click()
        await expect(page.locator("h1:visible")).to_have_text("4 photos with you")
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await page.reload()
        await guest.sees("start")
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await expect(page.locator("h1:visible")).to_have_text("Find your photos")


async def focused(guest: Guest) -> str:
    """What has the focus, by its accessible name; and it can be seen."""
    name: str = await guest.page.evaluate(
        """() => {
          const { activeElement: at } = document;
          if (at === document.body) return '';
          const box = at.getBoundingClientRect();
          const bar = document.getElementById('bar');
          const lowest = bar.offsetParent && !bar.contains(at) ? bar.getBoundingClientRect().top : innerHeight;
          if (box.bottom < 1 || box.top > lowest - 1) return `unseen: ${at.outerHTML}`;
          return at.getAttribute('aria-label') ?? at.textContent.trim();
        }"""
    )
    return name


async def tab_to(guest: Guest, name: str) -> list[str]:
    """Press Tab until it is reached; returns what came before."""
    passed = []
    for _ in range(60):
        await guest.page.keyboard.press("Tab")
        if (reached := await focused(guest)) == name:
            return passed
        assert not reached.startswith("unseen"), reached
        passed.append(reached)
    raise AssertionError(f"no way to {name!r} by keyboard: {passed}")


async def test_the_whole_way_by_keyboard_alone(new_guest: NewGuest, with_pictures: Server, event: Event) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        press = guest.page.keyboard.press
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        assert await focused(guest) == "Find your photos"
        await tab_to(guest, "Agree and take a selfie")
        await press("Enter")
        await guest.sees("camera")
        assert await focused(guest) == "Take a selfie"
        await expect(guest.page.locator("#shutter")).to_be_enabled()
        await tab_to(guest, "Take the picture")
        await guest.examine("keyboard-shutter")
        await press("Space")
        await guest.sees("results")
        assert await focused(guest) == "6 photos with you"
        await tab_to(guest, "Choose photo 2")
        await press("Space")
        await guest.examine("keyboard-chosen")
        await tab_to(guest, "Not me: hide photo 3")
        await press("Enter")
        await expect(guest.page.locator("h1:visible")).to_have_text("5 photos with you")
        assert await focused(guest) == "Not me: hide photo 3"  # the next one
        await tab_to(guest, "Download 1")
        async with guest.page.expect_download():
            await press("Enter")
        await expect(guest.button("Download 1")).to_be_focused()
        assert "" in await tab_to(guest, "Русский")  # out of the page and in again: no trap


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_narrowest_screen_has_room_for_everything(
    new_guest: NewGuest, with_pictures: Server, event: Event, scheme: str
) -> None:
    options = {"viewport": {"width": 320, "height": 568}, "color_scheme": scheme, "reduced_motion": "reduce"}
    async with new_guest(with_pictures.url, with_pictures.photos, language="ru-RU", **options) as guest:
        page = guest.page

        async def fits(name: str) -> None:
            await guest.examine(f"narrow-{scheme}-{name}")
            assert await page.evaluate("document.documentElement.scrollWidth") == 320

        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await fits("start")
        await page.locator('section[data-view="start"] [data-act="camera"]').click()
        await expect(page.locator("#stage.good")).to_be_visible()
        assert await page.locator("#shutter").evaluate("it => it.getBoundingClientRect().bottom <= innerHeight")
        await fits("camera")
        await page.locator("#shutter").click()
        await guest.sees("results")
        await page.locator(".photo input").first.check()
        await fits("results")


async def test_the_detector_in_the_browser_finds_what_the_servers_finds(
    new_guest: NewGuest, with_pictures: Server, event: Event, engine: FaceEngine
) -> None:
    """The page's own code and weights, on the same pixels."""
    async with new_guest(with_pictures.url) as guest:
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        (script,) = {url for url in guest.requested if url.endswith("js/main.js")}
        for picture, size in ((group_jpeg(), (400, 277)), (astronaut_png(), (192, 144))):
            pixels = cv2.resize(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), size)
            encoded = bytes(cv2.imencode(".png", pixels)[1])
            found = await guest.page.evaluate(DETECT, [re.sub("main.js$", "", script), list(encoded)])
            analysed = engine.analyse_photo(encoded)
            expected = sorted([*analysed.faces, *analysed.left_out], key=lambda face: -face.confidence)
            assert len(found) == len(expected) > 0
            for box, face in zip(found, expected, strict=True):
                wanted = (face.box.x, face.box.y, face.box.width, face.box.height, face.confidence)
                assert list(box.values()) == pytest.approx(wanted, abs=0.2)


DETECT = """async ([base, bytes]) => {
  const { createDetector } = await import(`${base}detector.js`);
  const weights = await (await fetch(`${base}../detector.bin`)).arrayBuffer();
  const bitmap = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
  context.drawImage(bitmap, 0, 0);
  return createDetector(weights)(context.getImageData(0, 0, bitmap.width, bitmap.height));
}"""
