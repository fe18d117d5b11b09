"""Whatever goes wrong on the selfie page is said in plain words, and goes on by itself where it can."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from browser.conftest import Event, NewGuest, Server, announce
from playwright.async_api import expect
from pydantic import SecretStr
from support.running import Running, new_session
from support.samples import astronaut_png, coffee_png

from facepass.schemas.ids import SessionId
from facepass.schemas.settings import DatabaseSettings
from facepass.search_api.access.session_tokens import make_token
from facepass.storage.callers.token_secrets import read_secret
from facepass.storage.database import open_database

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def guarded(serving: Callable[..., Server]) -> Server:
    """Guests need the link, and one search at a time is enough for all of them."""
    return serving(session_tokens="required", searches_at_once="1")


@pytest.fixture(scope="module")
def strict(serving: Callable[..., Server]) -> Server:
    """Sessions have to be announced, and a guest may search once in three seconds."""
    return serving(unannounced="refuse", limit_search="1/3second")


async def test_unknown_session(new_guest: NewGuest, running: Running) -> None:
    async with new_guest(running.http) as guest:
        await guest.open(running.http, "no/such session?")
        await guest.sees_problem("problem-unknown-session", "We don’t know this event")
        await expect(guest.button("Try again")).to_be_visible()


async def test_session_that_is_switched_off_and_on_again(new_guest: NewGuest, running: Running) -> None:
    session_id = new_session("browser-off")
    await asyncio.to_thread(announce, running, session_id, name="Private Party", enabled=False)
    async with new_guest(running.http) as guest:
        await guest.open(running.http, session_id)
        await guest.sees_problem("problem-switched-off", "Switched off for this event")
        await expect(guest.page.get_by_text("Private Party")).to_be_hidden()


async def test_session_that_was_never_announced(
    new_guest: NewGuest, running: Running, strict: Server, event: Event
) -> None:
    session_id = new_session("browser-unannounced")
    keys = {"one": event.keys["astronaut"]}
    await asyncio.to_thread(running.publish_photos, session_id, keys)
    await asyncio.to_thread(running.wait_until_settled, session_id, 1)
    async with new_guest(strict.url) as guest:
        await guest.open(strict.url, session_id)
        await guest.sees_problem("problem-unannounced", "Not open yet")
        await asyncio.to_thread(announce, running, session_id, name="Opened Now")
        await guest.button("Try again").click()
        await guest.sees("start")


async def _token(running: Running, session_id: str, lifetime: timedelta) -> str:
    async with open_database(DatabaseSettings(database=SecretStr(running.database))) as database:
        return make_token(await read_secret(database), SessionId(session_id), lifetime)


async def test_link_that_has_expired_or_lost_its_end(
    new_guest: NewGuest, guarded: Server, running: Running, event: Event
) -> None:
    expired = await _token(running, event.session_id, timedelta(seconds=-5))
    async with new_guest(guarded.url) as guest:
        await guest.open(guarded.url, event.session_id, fragment=f"#token={expired}")
        await guest.sees_problem("problem-expired-link", "This link has expired")
    async with new_guest(guarded.url) as guest:
        await guest.open(guarded.url, event.session_id)
        await guest.sees_problem("problem-incomplete-link", "This link is not complete")


async def test_guests_link_works_and_its_token_is_in_no_address(
    new_guest: NewGuest, guarded: Server, running: Running, event: Event
) -> None:
    link = (await asyncio.to_thread(running.facepass, "sessions", "link", event.session_id)).stdout
    (fragment,) = re.findall(r"#token=\S+", link)
    async with new_guest(guarded.url) as guest:
        await guest.open(guarded.url, event.session_id, fragment=fragment)
        await guest.take_selfie()
        await guest.sees("results")
        assert await guest.found() == event.expected("astronaut")
        assert not [url for url in guest.requested if fragment.split("=")[1] in url.split("#")[0]]


async def test_too_many_searches_count_down_and_go_on(new_guest: NewGuest, strict: Server, event: Event) -> None:
    async with new_guest(strict.url) as guest:
        await guest.open(strict.url, event.session_id)
        await guest.sees("start")
        await guest.choose(astronaut_png(), name="me.png", kind="image/png")
        await guest.sees("results")
        await guest.choose(astronaut_png(), name="me.png", kind="image/png")
        await guest.sees("problem")
        await expect(guest.page.locator("#problem-title")).to_have_text("Very many are searching right now")
        countdown = re.compile(r"^Going on in \d seconds?$")
        await expect(guest.page.locator("#problem-countdown")).to_have_text(countdown)
        await guest.sees("results")
        assert await guest.found() == event.expected("astronaut")


async def test_a_busy_server_is_waited_for(
    new_guest: NewGuest, guarded: Server, running: Running, event: Event
) -> None:
    token = await _token(running, event.session_id, timedelta(hours=1))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(guarded.url.rsplit(":", 1)[1]))
    head = (
        "POST /api/v1/search HTTP/1.1\r\nHost: guest\r\nContent-Length: 5000\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
        f'--b\r\nContent-Disposition: form-data; name="session_id"\r\n\r\n{event.session_id}\r\n'
    )
    writer.write(head.encode())  # and no more: an upload that stands still holds the only place
    await writer.drain()
    async with new_guest(guarded.url) as guest:
        await guest.open(guarded.url, event.session_id, fragment=f"#token={token}")
        await guest.sees("start")
        await guest.choose(astronaut_png(), name="me.png", kind="image/png")
        await guest.sees_problem("problem-busy", "One moment, please")
        writer.close()
        await reader.read()
        await guest.sees("results")
        assert await guest.found() == event.expected("astronaut")


async def test_camera_denied_says_how_to_allow_it_and_offers_a_file(
    new_guest: NewGuest, with_pictures: Server, event: Event
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos, allowed=False) as guest:
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await guest.button("Agree and take a selfie").click()
        await guest.sees_problem("problem-camera-denied", "The camera is not allowed")
        await guest.context.grant_permissions(["camera"])
        await guest.button("Try again").click()
        await guest.sees("camera")
        await guest.page.locator("#shutter:enabled").click()
        await guest.sees("results")


async def test_no_camera_leaves_the_file(new_guest: NewGuest, with_pictures: Server, event: Event) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos, camera="") as guest:
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await guest.button("Agree and take a selfie").click()
        await guest.sees_problem("problem-no-camera", "No camera found")
        async with guest.page.expect_file_chooser() as chooser:
            await guest.button("Choose a picture instead").click()
        picture = {"name": "me.png", "mimeType": "image/png", "buffer": astronaut_png()}
        await (await chooser.value).set_files(picture)
        await guest.sees("results")


async def test_no_face_asks_for_another_selfie(new_guest: NewGuest, with_pictures: Server, event: Event) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await guest.choose(coffee_png(), name="cup.png", kind="image/png")
        await guest.sees_problem("problem-no-face", "No face found")
        await guest.button("Take a selfie").click()
        await guest.sees("camera")
        await guest.page.go_back()  # the browser's own way back: to the start, and the camera is closed
        await guest.sees("start")
        await expect(guest.page.locator("#video")).to_have_js_property("srcObject", None)


async def test_a_slow_network_shows_how_far_it_is(
    new_guest: NewGuest, with_pictures: Server, event: Event
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        page = guest.page
        await page.clock.install()
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        network = await guest.context.new_cdp_session(page)
        slow = {"offline": False, "latency": 300, "downloadThroughput": 50_000, "uploadThroughput": 4_000}
        await network.send("Network.emulateNetworkConditions", slow)
        await guest.choose(astronaut_png(), name="me.png", kind="image/png")
        await expect(page.locator("#search-phase")).to_have_text(re.compile(r"Sending your selfie: \d+%"))
        await page.clock.fast_forward(8_000)
        await expect(page.locator("#search-slow")).to_have_text("The network is slow. We keep trying.")
        await guest.examine("slow-network")
        await network.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1, "latency": 0})
        await guest.sees("results")
        assert await guest.found() == event.expected("astronaut")


async def test_a_network_that_stands_still_is_given_up_and_tried_again(
    new_guest: NewGuest, with_pictures: Server, event: Event
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        page = guest.page
        await page.clock.install()
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await page.route("**/api/v1/search", lambda _: None)  # never answered
        await guest.choose(astronaut_png(), name="me.png", kind="image/png")
        await expect(page.locator("#search-phase")).to_have_text(re.compile("Sending|Looking"))
        await page.clock.fast_forward(60_000)
        await guest.sees_problem("problem-network", "The network does not get through")
        await page.unroute("**/api/v1/search")
        await guest.button("Try again").click()
        await guest.sees("results")


async def test_offline_goes_on_when_there_is_a_connection(
    new_guest: NewGuest, with_pictures: Server, event: Event
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await guest.context.set_offline(True)
        await guest.choose(astronaut_png(), name="me.png", kind="image/png")
        await guest.sees_problem("problem-offline", "You are offline")
        await guest.context.set_offline(False)
        await guest.sees("results")
