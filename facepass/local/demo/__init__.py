"""Demo (`facepass demo`): the main job on sample photos, from events to a contact sheet. Nothing else uses it."""

from facepass.local.demo.show import run_demo

__all__ = [
    "run_demo",
]
