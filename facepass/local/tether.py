"""Run a command that dies with the process that started it: `python tether.py PARENT_PID SIGNAL COMMAND...`.

A parent that is killed cannot stop its children, so the kernel does (Linux: PR_SET_PDEATHSIG, kept over exec). It
acts when the *thread* that started the child ends: start tethered children from a thread that stays. On other
systems the command runs untethered. Runs with `python -I -S`, so it may import the standard library only.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, signal_number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:  # it died before prctl was called
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the whole purpose


if __name__ == "__main__":
    main()
