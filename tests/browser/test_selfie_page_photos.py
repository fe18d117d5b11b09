"""What a guest does with the found photos, and what happens to them while more are being indexed."""

import asyncio
import json
from pathlib import Path

import pytest
from browser.conftest import Event, NewGuest, Server, announce
from browser.guests import Guest
from playwright.async_api import Download, expect
from pydantic import SecretStr
from support.running import Running, new_session
from support.samples import astronaut_png
from support.search_stack import event as photo_event

from facepass.embedding import read_spec
from facepass.schemas.settings import DatabaseSettings, ModelSettings
from facepass.storage.database import open_database
from facepass.storage.generations import open_store
from facepass.storage.writes import register_photos

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def results(guest: Guest, server: str, session_id: str) -> None:
    await guest.open(server, session_id)
    await guest.sees("start")
    await guest.choose(astronaut_png(), name="me.png", kind="image/png")
    await guest.sees("results")


async def test_not_me_hides_a_photo_on_this_device_and_stores_ids_alone(
    new_guest: NewGuest, with_pictures: Server, event: Event
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        page = guest.page
        await results(guest, with_pictures.url, event.session_id)
        first = await page.locator(".photo .id").first.text_content()
        await page.locator(".not-me").first.click()
        rest = event.expected("astronaut") - {first}
        assert await guest.found() == rest
        await expect(page.locator("h1:visible")).to_have_text("5 photos with you")
        await expect(page.get_by_text("1 photo hidden by you.")).to_be_visible()
        await expect(page.locator(".not-me").first).to_be_focused()
        await page.reload()
        await guest.sees("start")
        await guest.choose(astronaut_png(), name="me.png", kind="image/png")
        await guest.sees("results")
        assert await guest.found() == rest
        stored = await page.evaluate("JSON.stringify(localStorage)")
        assert json.loads(stored) == {f"facepass.hidden.{event.session_id}": json.dumps([first])}
        await guest.button("Show again").click()
        assert await guest.found() == event.expected("astronaut")


async def test_chosen_photos_are_downloaded_one_after_the_other(
    new_guest: NewGuest, with_pictures: Server, event: Event, tmp_path: Path
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        page = guest.page
        await results(guest, with_pictures.url, event.session_id)
        downloads: list[Download] = []
        page.on("download", lambda one: downloads.append(one))  # noqa: PLW0108 - Playwright marks its handlers
        chosen = (await page.locator(".photo .id").all_text_contents())[1:3]
        for photo_id in chosen:
            await page.locator(".photo", has=page.get_by_text(photo_id, exact=True)).locator("input").check()
        await guest.examine("chosen")
        await guest.button("Download 2").click()
        await expect(page.locator("#announcer")).to_have_text("2 photos downloaded.")
        for download, photo_id in zip(downloads, chosen, strict=True):
            await download.save_as(tmp_path / "photo")
            assert (tmp_path / "photo").read_bytes() == event.photos[photo_id].read_bytes()
            assert download.suggested_filename.startswith(f"{photo_id}.")
        await guest.button("Clear").click()
        await expect(guest.button("Download all 6 photos")).to_be_focused()


async def test_photos_that_the_page_may_not_read_are_offered_as_links(
    new_guest: NewGuest, with_pictures: Server, event: Event
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        page = guest.page
        await results(guest, with_pictures.url, event.session_id)
        await page.route(f"{with_pictures.photos}/photos/**", lambda route: route.abort())
        await guest.button("Download all 6 photos").click()
        await expect(page.get_by_role("heading", name="Save your photos one by one")).to_be_focused()
        address = await page.get_by_role("link", name="Open photo 6").last.get_attribute("href")
        assert address is not None
        assert address.startswith(f"{with_pictures.photos}/photos/")
        await guest.examine("links")
        await page.keyboard.press("Escape")
        await expect(guest.button("Download all 6 photos")).to_be_visible()


async def test_without_addresses_of_photos_their_ids_are_shown(
    new_guest: NewGuest, running: Running, event: Event, tmp_path: Path
) -> None:
    async with new_guest(running.http) as guest:
        await results(guest, running.http, event.session_id)
        await expect(guest.page.get_by_text("These are the numbers of your photos")).to_be_visible()
        ids = await guest.page.locator(".photo .id").all_text_contents()
        for photo_id in ids:
            await expect(guest.page.get_by_text(photo_id, exact=True)).to_be_visible()
        await guest.examine("ids")
        async with guest.page.expect_download() as download:
            await guest.button("Save the list").click()
        await (await download.value).save_as(tmp_path / "list")
        assert (tmp_path / "list").read_text().split() == ids
        await guest.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await guest.button("Copy the list").click()
        await expect(guest.page.locator("#announcer")).to_have_text("The list is copied.")
        assert (await guest.page.evaluate("navigator.clipboard.readText()")).split() == ids


async def test_photos_that_come_while_the_guest_looks_are_added_and_marked(
    new_guest: NewGuest, with_pictures: Server, event: Event, running: Running
) -> None:
    session_id = new_session("browser-growing")
    keys = {photo_id: event.keys[photo_id] for photo_id in sorted(event.expected("astronaut"))}
    early, late = dict(list(keys.items())[:1]), dict(list(keys.items())[1:])
    await asyncio.to_thread(announce, running, session_id, name="Race")
    await asyncio.to_thread(running.publish_photos, session_id, early)
    await asyncio.to_thread(running.wait_until_settled, session_id, len(early))
    await _make_pending(running, session_id, *late)
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        page = guest.page
        await results(guest, with_pictures.url, session_id)
        await expect(page.locator("#pending")).to_have_text("Photos still being indexed: 5. We keep looking.")
        await guest.examine("pending")
        await page.locator(".not-me").focus()
        await asyncio.to_thread(running.publish_photos, session_id, late)
        await expect(page.locator("#pending")).to_have_text("All photos are indexed.", timeout=90_000)
        await expect(page.locator("h1:visible")).to_have_text("6 photos with you")
        assert await guest.found() == set(keys)
        marked = page.locator(".photo", has=page.locator(".new:visible")).locator(".id")
        assert set(await marked.all_text_contents()) == set(late)
        focused = page.locator(".photo", has=page.locator(".not-me:focus")).locator(".id")
        assert await focused.all_text_contents() == list(early)  # what comes does not take the focus away
        await expect(page.locator("#announcer")).to_contain_text("with you")
        await guest.examine("new-photos")


async def _make_pending(running: Running, session_id: str, *photo_ids: str) -> None:
    """Register photos as intake does; their events come later."""
    settings = DatabaseSettings(database=SecretStr(running.database))
    async with open_database(settings) as database:
        store = await open_store(database, read_spec(ModelSettings()))
        events = [photo_event(session_id, photo_id) for photo_id in photo_ids]
        await register_photos(store, events)
