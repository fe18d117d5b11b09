"""`python -m facepass` is the command `facepass`."""

from facepass.cli import main

main()
