"""Registers photos as pending, applies deletions and session updates, keeps house. Never looks at a photo."""

from facepass.streams.intake.intake_process import INTAKE_GROUP, run_intake

__all__ = [
    "INTAKE_GROUP",
    "run_intake",
]
