"""Every command of `facepass`, a file a group: it reads arguments and runs one function of another room.

What a command runs is imported inside it: `facepass --help` and a mistyped option answer at once.
"""

from facepass.cli.commands.bench_command import add_bench
from facepass.cli.commands.dead_letter_commands import dead_letters
from facepass.cli.commands.doctor_command import doctor
from facepass.cli.commands.key_commands import keys
from facepass.cli.commands.local_commands import demo, dev
from facepass.cli.commands.model_command import prepare
from facepass.cli.commands.process_commands import ingest, intake, serve
from facepass.cli.commands.session_commands import sessions
from facepass.cli.commands.store_commands import migrate, topics
from facepass.cli.commands.verify_command import verify

__all__ = [
    "add_bench",
    "dead_letters",
    "demo",
    "dev",
    "doctor",
    "ingest",
    "intake",
    "keys",
    "migrate",
    "prepare",
    "serve",
    "sessions",
    "topics",
    "verify",
]
