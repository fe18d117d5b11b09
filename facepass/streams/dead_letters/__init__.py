"""Events that were given up: written, limited, listed, replayed. Never decides what is given up."""

from facepass.streams.dead_letters.give_up_limits import DeadLetterLimits, limits_of
from facepass.streams.dead_letters.handling import Selection, handle_letters, open_letters, watch_open_letters
from facepass.streams.dead_letters.letter import Handled, Letter, parse_letter_id
from facepass.streams.dead_letters.outlet import Outlet, rebuilt_dead_letter, send_dead_letter

__all__ = [
    "DeadLetterLimits",
    "Handled",
    "Letter",
    "Outlet",
    "Selection",
    "handle_letters",
    "limits_of",
    "open_letters",
    "parse_letter_id",
    "rebuilt_dead_letter",
    "send_dead_letter",
    "watch_open_letters",
]
