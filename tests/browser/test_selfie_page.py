"""The guest's way over the selfie page: consent, camera or file, search, photos."""

import asyncio
import io

import pytest
from browser.conftest import Event, NewGuest, Server
from PIL import Image, ImageOps
from playwright.async_api import Page, expect
from support.samples import astronaut_jpeg, astronaut_png, group_jpeg

from facepass.local.sample_files import scikit_image_file

pytestmark = pytest.mark.asyncio(loop_scope="session")


KEEP_WHAT_IS_SENT = """
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (form) {
  window.sent = form.get('file');
  send.call(this, form);
};
"""
"""What goes out, noted where it goes out: Chromium hands no file of a form to its tools."""


async def sent_selfie(page: Page) -> bytes:
    return bytes(await page.evaluate("window.sent.arrayBuffer().then((bytes) => [...new Uint8Array(bytes)])"))


async def test_a_guest_takes_a_selfie_and_finds_the_photos(
    new_guest: NewGuest, with_pictures: Server, event: Event
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        page = guest.page
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await expect(page.get_by_text(event.name)).to_be_visible()
        await expect(page.get_by_text("it is stored nowhere")).to_be_visible()
        await guest.examine("start")
        await guest.button("Agree and take a selfie").click()
        await guest.sees("camera")
        await expect(page.locator("#hint")).to_have_text("Good. Press the button")
        await guest.examine("camera")
        assert not [url for url in guest.requested if "/search" in url]  # nothing has left the device
        await guest.button("Take the picture").click()
        await guest.sees("results")
        assert await guest.found() == event.expected("astronaut")
        await expect(page.locator("h1:visible")).to_have_text("6 photos with you")
        best = page.locator(".photo").first
        await expect(best.locator(".likeness")).to_have_text("Almost certainly")
        await expect(best.locator(".share")).to_have_text("98%")
        await guest.examine("results")


async def test_nothing_found_says_what_to_do(
    new_guest: NewGuest, with_pictures: Server, without_photos: str
) -> None:
    async with new_guest(with_pictures.url) as guest:
        await guest.open(with_pictures.url, without_photos)
        await guest.take_selfie()
        await guest.sees("results")
        await expect(guest.page.locator("h1:visible")).to_have_text("No photos of you yet")
        await expect(guest.page.get_by_text("Come back later")).to_be_visible()
        await guest.examine("nothing-found")


def phone_photo() -> bytes:
    """48 megapixels, held upright: the pixels lie on their side, and Exif says so; with a place in it."""
    with Image.open(scikit_image_file()) as file:
        face = file.convert("RGB").crop((90, 0, 390, 400)).resize((6000, 8000))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    encoded = io.BytesIO()
    face.transpose(Image.Transpose.ROTATE_90).save(encoded, "JPEG", quality=90, exif=exif)
    return encoded.getvalue()


async def test_a_file_of_48_megapixels_is_brought_down_before_it_is_sent(
    new_guest: NewGuest, with_pictures: Server, event: Event
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos, camera="") as guest:
        await guest.context.add_init_script(KEEP_WHAT_IS_SENT)
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        async with guest.page.expect_file_chooser() as chooser:
            await guest.button("Agree and choose a picture").click()
        picture = {"name": "IMG_1.jpg", "mimeType": "image/jpeg", "buffer": phone_photo()}
        await (await chooser.value).set_files(picture)
        await guest.sees("results")
        assert await guest.found() == event.expected("astronaut")
        selfie = await sent_selfie(guest.page)
        with Image.open(io.BytesIO(selfie)) as sent:
            assert (sent.format, sent.size) == ("JPEG", (1536, 2048))
            assert not sent.getexif()
            upright = ImageOps.exif_transpose(sent).resize((30, 40))
        with Image.open(scikit_image_file()) as file:
            original = file.convert("RGB").crop((90, 0, 390, 400)).resize((30, 40))
        differences = [abs(a - b) for a, b in zip(upright.tobytes(), original.tobytes(), strict=True)]
        assert sum(differences) / len(differences) < 10


HEIC = ("heic", b"\x00\x00\x00\x18ftypheic", "This browser cannot open HEIC pictures")
DAMAGED = ("jpeg", astronaut_jpeg()[:400], "This picture cannot be used")


@pytest.mark.parametrize("file", [HEIC, DAMAGED], ids=["heic", "damaged"])
async def test_a_file_that_is_no_picture_here_is_explained(
    new_guest: NewGuest, with_pictures: Server, event: Event, file: tuple[str, bytes, str]
) -> None:
    kind, content, title = file
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await guest.choose(content, name=f"me.{kind}", kind=f"image/{kind}")
        await guest.sees_problem(f"problem-file-{kind}", title)
        await guest.choose(astronaut_png(), name="me.png", kind="image/png")
        await guest.sees("results")
        assert await guest.found() == event.expected("astronaut")


async def test_a_selfie_with_several_faces_is_searched_and_shows_which_was_taken(
    new_guest: NewGuest, with_pictures: Server, event: Event
) -> None:
    async with new_guest(with_pictures.url, with_pictures.photos) as guest:
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await guest.choose(group_jpeg())
        await guest.sees("results")
        await expect(guest.page.get_by_text("There are several faces on your selfie")).to_be_visible()
        box = await guest.page.locator("#whole-box").bounding_box()
        whole = await guest.page.locator("#whole").bounding_box()
        assert box
        assert whole
        assert 0 < box["width"] < whole["width"] / 3
        await guest.examine("several-faces")
        await guest.button("Take the selfie again").click()
        await guest.sees("camera")


@pytest.mark.parametrize(
    ("camera", "hint"),
    [
        ("several", "Several faces: only you, please"),
        ("far", "Too far: come closer"),
        ("dark", "Too dark: turn towards the light"),
        ("nobody", "Put your face into the outline"),
    ],
)
async def test_the_camera_gives_live_hints(
    new_guest: NewGuest, with_pictures: Server, event: Event, camera: str, hint: str
) -> None:
    async with new_guest(with_pictures.url, camera=camera) as guest:
        await guest.open(with_pictures.url, event.session_id)
        await guest.sees("start")
        await guest.button("Agree and take a selfie").click()
        await expect(guest.page.locator("#hint")).to_have_text(hint)
        await asyncio.sleep(1)  # and it stays
        await expect(guest.page.locator("#hint")).to_have_text(hint)
        await guest.examine(f"hint-{camera}")
