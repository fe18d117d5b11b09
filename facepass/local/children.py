"""Child processes: started with their output in a log file, stopped in order, killed with their parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TETHER = str(Path(__file__).with_name("tether.py"))
_TAIL_BYTES = 16_384
"""Enough of a log's end for the lines that say why a process died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running child process and the file its output goes to."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def running(self) -> bool:
        """True while it has not ended."""
        return self.process.poll() is None


def start_child(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> Child:
    """Start `command` in a process group of its own (so that Ctrl-C reaches only its parent, which stops it).

    Args:
        log: gets standard output and standard error, appended.
        env: the whole environment; default: this process's own.
        death_signal: what the kernel sends it when the calling thread ends, however that happens.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            _tethered(command, death_signal),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=env,
            process_group=0,
        )
    return Child(name=name, process=process, log=log)


def run_child(command: Sequence[str], *, log: Path) -> int:
    """Run `command` to its end, killed with its parent like every child; returns its exit status.

    Args:
        log: gets standard output and standard error, appended.
    """
    child = start_child(Path(command[0]).name, command, log=log, death_signal=signal.SIGKILL)
    try:
        return child.process.wait()
    finally:
        stop_children([child], patience=0.0, stop_signal=signal.SIGKILL)


def stop_children(
    children: Sequence[Child], *, patience: float, stop_signal: signal.Signals = signal.SIGTERM
) -> list[str]:
    """Ask all to stop, wait up to `patience` seconds, kill what is left.

    Returns:
        The names of those that had to be killed.
    """
    for child in children:
        if child.running():
            child.process.send_signal(stop_signal)
    deadline = time.monotonic() + patience
    killed = []
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
            killed.append(child.name)
    return killed


def _tethered(command: Sequence[str], death_signal: signal.Signals) -> list[str]:
    # The new process runs tether.py first, which then becomes the command.
    return [sys.executable, "-I", "-S", _TETHER, str(os.getpid()), str(int(death_signal)), *command]


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log file, for the message that says why a process died."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
