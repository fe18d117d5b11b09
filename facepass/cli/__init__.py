"""The command `facepass`: a file a command group. Settings are read here; each command calls one function.

What a command runs is imported inside it, so that `--help` and a mistyped option answer at once.
"""

from facepass.cli.command_line import main

__all__ = ["main"]
