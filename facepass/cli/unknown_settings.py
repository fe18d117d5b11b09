"""Environment variables that look like settings of FacePass and are none."""

import difflib
import os
import re
from collections.abc import Mapping

from facepass.schemas.settings import GROUPS

_OTHERS = re.compile(r"FACEPASS_(SERVICE|PORT)(_.*)?|FACEPASS_NO_SKIP")
"""What Kubernetes sets beside a service called "facepass", and a switch of the tests."""


def unknown_settings(environment: Mapping[str, str] | None = None) -> list[str]:
    """One sentence for each unknown FACEPASS_* variable, with the setting it may be meant as."""
    known = [f"FACEPASS_{name.upper()}" for group in GROUPS for name in group.model_fields]
    found = []
    for name in sorted(os.environ if environment is None else environment):
        if name.startswith("FACEPASS_") and name not in known and not _OTHERS.fullmatch(name):
            close = difflib.get_close_matches(name, known, n=1)
            meant = f", did you mean {close[0]}?" if close else "; see `facepass settings`"
            found.append(f"{name} is no setting{meant}")
    return found
