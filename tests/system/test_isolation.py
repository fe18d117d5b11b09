"""The running system talks to its own parts and to nobody else, and does nothing that no event asked for."""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from support.running import Running, found, new_session
from support.samples import astronaut_jpeg

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h

CUT_OFF = """
import ctypes, fcntl, os, socket, struct, sys
user, group = os.getuid(), os.getgid()
if ctypes.CDLL(None, use_errno=True).unshare(int(sys.argv[1])):
    sys.exit(77)
try:
    if user:
        open("/proc/self/setgroups", "w").write("deny")
        open("/proc/self/uid_map", "w").write(f"{user} {user} 1")
        open("/proc/self/gid_map", "w").write(f"{group} {group} 1")
    # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP: the new namespace's loopback is down at first
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(s, 0x8913, request))[1]
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))
except OSError:
    sys.exit(77)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""Runs Python with the given arguments where only a loopback of its own exists. Status 77: not permitted here."""


def index_the_astronaut(running: Running) -> str:
    session = new_session("isolation")
    (running.photos / "astronaut.jpg").write_bytes(astronaut_jpeg())
    running.publish_photos(session, {"p": "astronaut.jpg"})
    running.wait_until_settled(session, 1)
    return session


@pytest.mark.property(1)
def test_property_1_connections_go_to_the_configured_parts_and_nowhere_else(running: Running) -> None:
    session = index_the_astronaut(running)
    assert found(running.search(session, astronaut_jpeg())) == {"p"}

    allowed = {running.kafka, running.http.removeprefix("http://")}
    seen = {address_of(line) for line in running.connections.read_text().splitlines()}
    assert running.kafka in seen, "the hook was not installed"
    assert seen - allowed - {""} == set()

    # libpq and native libraries connect without Python's knowledge: the kernel knows
    own = [process for process in psutil.process_iter() if belongs_to(process, running)]
    assert len(own) >= 3
    for process in own:
        for connection in process.net_connections(kind="inet"):
            if connection.raddr:
                assert connection.raddr.ip == "127.0.0.1", (process.cmdline(), connection)


def belongs_to(process: psutil.Process, running: Running) -> bool:
    try:
        return process.environ().get("FACEPASS_TEST_CONNECTIONS") == str(running.connections)
    except psutil.Error:
        return False


def address_of(line: str) -> str:
    """`host:port` of a connection over IP; empty for a Unix socket, and for the look-up of a numeric address."""
    _, event, text = line.split("\t", 2)
    if event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        return "" if text in {"127.0.0.1", "::1", "None"} else text
    address = ast.literal_eval(text) if text.startswith("(") else ""
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""


@pytest.mark.property(2)
def test_property_2_the_whole_system_answers_where_nothing_but_its_own_parts_can_be_reached(
    tmp_path: Path,
) -> None:
    flags = CLONE_NEWNET | (0 if os.getuid() == 0 else CLONE_NEWUSER)
    command = ["-m", "facepass", "demo", "--exit", "--output", str(tmp_path / "result.png")]
    result = subprocess.run(
        [sys.executable, "-c", CUT_OFF, str(flags), *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    if result.returncode == 77:
        pytest.skip("this machine lets nobody make a network namespace (unshare)")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.property(6)
def test_property_6_an_idle_system_changes_no_row(running: Running) -> None:
    index_the_astronaut(running)
    before = fingerprint_of_rows(running.database)
    # every timer fires several times: poll 1 s, sweep 1 s (set so for the tests)
    time.sleep(4)
    assert fingerprint_of_rows(running.database) == before


def fingerprint_of_rows(database: str) -> dict[str, str]:
    """Table to a digest of all of its rows; `replicas` is left out, since its one row is a clock."""
    with psycopg.connect(database) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'replicas'"
        ).fetchall()
        return {
            table: str(
                connection.execute(
                    f"SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {table} AS t"
                ).fetchone()
            )
            for (table,) in tables
        }
