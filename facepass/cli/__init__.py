"""The command `facepass`: `command_line` puts it together, `commands` holds its groups, a file each.

What they run is in the other rooms: the processes in `running`, what operators ask for in `operating`, `facepass
verify` in `verifying`. Settings are read there, or in the command.
"""

from facepass.cli.command_line import main

__all__ = ["main"]
