"""Found by every Python process whose PYTHONPATH names this folder: notes each address that it connects to.

The file of FACEPASS_TEST_CONNECTIONS gets one line a connection or name look-up: process, event, address.
"""

import os
import sys

_NOTES = os.environ.get("FACEPASS_TEST_CONNECTIONS")
_EVENTS = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
"""Audit event to the place of the address among its arguments (Python's audit events table)."""


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in _EVENTS and _NOTES:
        line = f"{os.getpid()}\t{event}\t{arguments[_EVENTS[event]]}\n"
        # os-level and unbuffered: the hook must not open files through what it watches
        descriptor = os.open(_NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)


sys.addaudithook(_note)
