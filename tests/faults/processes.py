"""Processes of FacePass as a test sees them: asked, told, frozen, killed."""

import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from faults.waiting import wait_for

from facepass.local.children import Child, last_lines

STARTS_WITHIN = 90.0
"""Seconds for a process to be ready on a busy machine; nothing is asserted about it."""

ENDS_WITHIN = 5.0
"""Seconds for processes that are no longer needed; what is stuck is killed then."""

Trick = tuple[str, ...]
"""What happens to a process at a named point, as tricked.py takes it: (what, point, n-th pass, file of a hold)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A process told to stand still at a point, for as long as a file is there."""

    trick: Trick
    file: Path

    def wait_until_reached(self, within: float = 60.0) -> None:
        wait_for(self.file.with_suffix(".reached").exists, within, f"{self.trick} to be reached", every=0.05)

    def let_go(self) -> None:
        self.file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A process to be had from the test before, if that left it well: `kind` is the command."""

    kind: str
    route: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)


INTAKE, INGEST, SERVE = (Wanted(kind=kind) for kind in ("intake", "ingest", "serve"))

DEFAULT_LEASE = {"FACEPASS_LEASE_SECONDS": "60"}
"""Where every search must be answered: on a busy machine a poll may take longer than the suite's lease."""


@dataclass(slots=True, kw_only=True, eq=False)
class Process:
    """One process of FacePass.

    Attributes:
        control_port: of a `serve`, for `facepass verify --replica`.
        wanted: what it can be for the next test; None: it ends with its own.
    """

    name: str
    child: Child
    port: int
    control_port: int | None = None
    wanted: Wanted | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.child.log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self.child.process.poll()

    def running(self) -> bool:
        return self.child.running()

    def kill(self) -> None:
        self.child.process.kill()
        self.child.process.wait()

    def freeze(self) -> None:
        self.child.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.child.process.send_signal(signal.SIGCONT)

    def terminate(self, *, within: float = 30.0) -> int:
        """SIGTERM, and its exit status."""
        self.child.process.terminate()
        return self.ended(within=within)

    def ended(self, *, within: float) -> int:
        """Wait for its end by itself."""
        try:
            return self.child.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {within} s; its log:\n{self.tail()}") from None

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=2.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def wait_until_ready(self, within: float = STARTS_WITHIN) -> "Process":
        def look() -> bool:
            assert self.running(), f"{self.name} ended with {self.status}; its log:\n{self.tail()}"
            return self.ready()

        wait_for(look, within, lambda: f"{self.name} to be ready; its log:\n{self.tail()}")
        return self

    def tail(self) -> str:
        return last_lines(self.child.log, 30)


def end_all(processes: Iterable[Process]) -> None:
    """Ask them to end, which takes them out of their groups: the next test need not wait for a time-out."""
    running = [process for process in processes if process.running()]
    for process in running:
        process.thaw()
        process.child.process.terminate()
    deadline = time.monotonic() + ENDS_WITHIN
    for process in running:
        try:
            process.child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
