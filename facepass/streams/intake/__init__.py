"""The process of intake: photos registered as pending, deletions and session updates applied, house kept. It
never looks at a photo.
"""

from facepass.streams.intake.intake_process import INTAKE_GROUP, run_intake

__all__ = [
    "INTAKE_GROUP",
    "run_intake",
]
