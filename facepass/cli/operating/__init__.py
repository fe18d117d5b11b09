"""The work of operators' commands: sessions, links, keys, dead letters, the doctor. No rule of its own."""

from facepass.cli.operating.dead_letter_lists import (
    discard_dead_letters,
    list_dead_letters,
    replay_dead_letters,
    show_dead_letters,
)
from facepass.cli.operating.diagnosis import run_doctor
from facepass.cli.operating.key_printing import end_key, list_keys, print_new_key, replace_key
from facepass.cli.operating.session_link import print_link
from facepass.cli.operating.session_report import delete_and_wait, print_receipt, show_session

__all__ = [
    "delete_and_wait",
    "discard_dead_letters",
    "end_key",
    "list_dead_letters",
    "list_keys",
    "print_link",
    "print_new_key",
    "print_receipt",
    "replace_key",
    "replay_dead_letters",
    "run_doctor",
    "show_dead_letters",
    "show_session",
]
