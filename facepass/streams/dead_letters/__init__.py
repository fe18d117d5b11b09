"""Events that were given up: written, limited, listed, replayed. Never decides what is given up."""

from facepass.streams.dead_letters.give_up_limits import DeadLetterLimits, limits_of
from facepass.streams.dead_letters.handling import (
    Selection,
    handle_dead_letters,
    read_open_dead_letters,
    watch_open_dead_letters,
)
from facepass.streams.dead_letters.outlet import Outlet, rebuilt_dead_letter, send_dead_letter
from facepass.streams.dead_letters.stored_dead_letters import Handled, StoredDeadLetter, parse_dead_letter_id

__all__ = [
    "DeadLetterLimits",
    "Handled",
    "Outlet",
    "Selection",
    "StoredDeadLetter",
    "handle_dead_letters",
    "limits_of",
    "parse_dead_letter_id",
    "read_open_dead_letters",
    "rebuilt_dead_letter",
    "send_dead_letter",
    "watch_open_dead_letters",
]
