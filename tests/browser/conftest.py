"""The selfie page in a real browser, against a running system."""

import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from browser.cameras import write_camera
from browser.guests import PHONE, REPORT_VIOLATIONS, Guest
from playwright.async_api import Browser, Playwright, async_playwright, expect
from support.running import Running, new_session

from facepass.local.children import last_lines, start_child, stop_children
from facepass.local.demo.photo_host import photo_host
from facepass.local.demo.samples import Session, write_samples
from facepass.local.ports import free_port

CHROMIUM = shutil.which("chromium")

_PATIENCE_SECONDS = 120.0

expect.set_options(timeout=30_000)  # other work may have the cores

NewGuest = Callable[..., AbstractAsyncContextManager[Guest]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A session that has been photographed: `photos` are the samples', by id."""

    session_id: str
    name: str
    samples: Session
    photos: dict[str, Path]
    keys: dict[str, str]

    def expected(self, person: str) -> set[str]:
        return {sample.photo_id for sample in self.samples.samples if person in sample.people}


@pytest.fixture(scope="session")
def event(running: Running) -> Event:
    """The samples of the demo, indexed, in an announced session."""
    directory = running.photos / "browser"
    directory.mkdir()
    samples = write_samples(directory)
    keys = {sample.photo_id: f"browser/photos/{sample.s3_key}" for sample in samples.samples}
    session_id, name = new_session("browser"), "Anna & Boris <3"
    announce(running, session_id, name=name)
    running.publish_photos(session_id, keys)
    wait_until_indexed(running, session_id, len(keys))
    photos = {photo_id: running.photos / key for photo_id, key in keys.items()}
    return Event(session_id=session_id, name=name, samples=samples, photos=photos, keys=keys)


def wait_until_indexed(running: Running, session_id: str, photos: int) -> None:
    """Until so many photos have an outcome, whichever."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        status = running.status(session_id)
        if status["photo_count"] + status["no_face"] + status["failed"] >= photos:
            return
        assert time.monotonic() < deadline, f"not indexed: {status}"
        time.sleep(0.1)


def announce(running: Running, session_id: str, *, name: str, enabled: bool = True) -> None:
    """Publish `session-updated` and wait until it is known."""
    fields = {"session_id": session_id, "name": name, "studio_id": "17", "facepass_enabled": enabled}
    running.publish("session-updated", [(session_id, fields)])
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with running.client() as client:
        while not _knows(client.get(f"/api/v1/sessions/{session_id}"), name, enabled=enabled):
            assert time.monotonic() < deadline, "session-updated did not arrive"
            time.sleep(0.1)


def _knows(answer: httpx.Response, name: str, *, enabled: bool) -> bool:
    """A session with photos is there before it is announced: only its name says that it was."""
    if not enabled:
        return answer.status_code == httpx.codes.FORBIDDEN
    return answer.is_success and answer.json()["name"] == name


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A serving process: its address, and the address of the photo host that its page may use."""

    url: str
    photos: str = ""


@pytest.fixture(scope="session")
def without_photos(running: Running) -> str:
    """An announced session that nothing was photographed in yet."""
    session_id = new_session("browser-empty")
    announce(running, session_id, name="Quiet Day")
    return session_id


@pytest.fixture(scope="module")
def serving(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts further serving processes on the running system, one for each set of settings.

    They end with the file: an idle one takes a share of a core from the tests after it.
    """
    started: dict[tuple[tuple[str, str], ...], Server] = {}
    logs = tmp_path_factory.mktemp("serving")
    with ExitStack() as opened:

        def serve(**settings: str) -> Server:
            key = tuple(sorted(settings.items()))
            if key not in started:
                environment = running.environment() | {f"FACEPASS_{n.upper()}": v for n, v in settings.items()}
                port = free_port()
                url = f"http://127.0.0.1:{port}"
                program = [sys.executable, "-m", "facepass", "serve", "--port", str(port)]
                child = start_child("serve", program, log=logs / f"{port}.log", env=environment)
                opened.callback(stop_children, [child], patience=30.0)
                _wait_until_ready(url, child)
                started[key] = Server(url=url)
            return started[key]

        yield serve


def _wait_until_ready(url: str, child: Any) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while True:
            assert child.running(), last_lines(child.log)
            assert time.monotonic() < deadline, last_lines(child.log)
            try:
                if client.get(f"{url}/ready").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)


@pytest.fixture(scope="module")
def with_pictures(serving: Callable[..., Server], event: Event) -> Iterator[Server]:
    """A page whose photos come from a host of their own."""
    with photo_host(event.photos) as settings:
        names = {name.removeprefix("FACEPASS_").lower(): value for name, value in settings.items()}
        address = settings["FACEPASS_PHOTO_URL"].split("/photos/")[0]
        yield Server(url=serving(**names).url, photos=address)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def playwright() -> AsyncIterator[Playwright]:
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH: install Debian's package chromium")
    async with async_playwright() as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browsers(
    playwright: Playwright, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Callable[[str], Any]]:
    """Chromium with the camera of that name (see cameras.py; empty: none), started once each."""
    directory = tmp_path_factory.mktemp("cameras")
    started: dict[str, Browser] = {}

    async def browser(camera: str) -> Browser:
        if camera not in started:
            arguments = ["--no-sandbox"]  # as root Chromium starts only so; the pages are ours
            if camera:
                file = write_camera(camera, directory)
                arguments += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={file}"]
            started[camera] = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        return started[camera]

    yield browser
    for one in started.values():
        await one.close()


@pytest.fixture
def new_guest(browsers: Callable[[str], Any]) -> NewGuest:
    """A guest for a block; at its end it is checked that nothing forbidden has happened."""

    @asynccontextmanager
    async def guest(
        *servers: str, camera: str = "astronaut", allowed: bool = True, language: str = "en-GB", **options: Any
    ) -> AsyncIterator[Guest]:
        browser = await browsers(camera)
        settings = {"viewport": PHONE, "locale": language, "device_scale_factor": 2} | options
        context = await browser.new_context(permissions=["camera"] if allowed else [], **settings)
        await context.add_init_script(REPORT_VIOLATIONS)
        opened = Guest(context=context, page=await context.new_page())
        opened.watch()
        try:
            yield opened
            opened.check(*servers)
        finally:
            await context.close()

    return guest
