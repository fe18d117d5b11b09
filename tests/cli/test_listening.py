"""The sockets that our servers listen on."""

import socket

from facepass.cli.running.listening import listen
from facepass.local.ports import free_port


def test_an_answer_never_waits_for_the_clients_acknowledgement() -> None:
    """A server that writes head and body apart would lose 40 ms on every answer."""
    with listen("127.0.0.1", 0, "--port") as server, socket.create_connection(server.getsockname()):
        connection, _address = server.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_free_port_is_given_once() -> None:
    """Of 600 that the system offers, two are the same nearly always."""
    assert len({free_port() for _ in range(600)}) == 600
