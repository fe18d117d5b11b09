"""PostgreSQL and Apache Kafka that can be stopped badly and started again on the directory they left."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote

from faults.loop_thread import LoopThread
from faults.proxies import TcpProxy, tcp_target, unix_target

from facepass.local.apache_kafka import ApacheKafka, fetch_jars
from facepass.local.ports import free_port
from facepass.local.postgres import embedded_postgres
from facepass.schemas.errors import PermanentError


class PostgresServer:
    """The embedded PostgreSQL, with its settings as for production: what it says it committed must be there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory.parent / "postgres.log"
        self._running: ExitStack | None = None
        self.uri = ""

    @property
    def socket(self) -> str:
        """Path of the Unix socket, which is all that it listens on."""
        folder = re.search(r"host=([^&]+)", self.uri)
        assert folder is not None
        return f"{unquote(folder[1])}/.s.PGSQL.5432"

    def start(self, *, patience: float = 30.0) -> None:
        """Start it; after a kill the kernel may still hold what the old one shared with its children."""
        deadline = time.monotonic() + patience
        while True:
            running = ExitStack()
            try:
                self.uri = running.enter_context(embedded_postgres(self.directory, log=self.log))
            except PermanentError:
                running.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)
            else:
                self._running = running
                return

    def stop(self) -> None:
        """In order, or what is left of it after one of the others."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def stop_immediately(self) -> None:
        """SIGQUIT: PostgreSQL's "immediate" mode, which recovers from its log at the next start."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """SIGKILL of the postmaster; its children see it and leave."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        pid = self.pid()
        os.kill(pid, number)
        while _alive(pid):
            time.sleep(0.02)
        self.stop()

    def start_if_down(self) -> None:
        """It may have given up by itself."""
        try:
            down = not _alive(self.pid())
        except OSError:
            down = True
        if down:
            self.stop()
            self.start()

    def pid(self) -> int:
        return int((self.directory / "postmaster.pid").read_text().split("\n", 1)[0])


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


class Kafka:
    """Apache Kafka with one listener of its own for each proxy, which tells clients the proxy's address."""

    def __init__(self, directory: Path, loop: LoopThread, *, proxies: int) -> None:
        behind = [free_port() for _ in range(proxies)]
        self.proxies = [TcpProxy(loop, tcp_target("127.0.0.1", port)) for port in behind]
        self.broker = ApacheKafka(
            directory=directory,
            port=free_port(),
            jars=fetch_jars(),
            more_ports={port: proxy.port for port, proxy in zip(behind, self.proxies, strict=True)},
        )

    @property
    def address(self) -> str:
        """For the suite itself: around every proxy."""
        return self.broker.address

    def close(self) -> None:
        self.broker.stop()
        for proxy in self.proxies:
            proxy.close()


def postgres_proxy(loop: LoopThread, server: PostgresServer) -> TcpProxy:
    socket: Callable[[], str] = lambda: server.socket  # noqa: E731 - it moves with the server
    return TcpProxy(loop, unix_target(socket))
