"""Pixora's client as its guide has it, word for word: the listings in `pixora/` are the guide's own."""

import logging
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

_LISTINGS = Path(__file__).with_name("pixora")


def pixora(api_url: str, api_key: str) -> ModuleType:
    """A module with `FacePassClient` and the functions that the guide builds on it.

    What the guide takes for granted around its listings is what it configures in its first step.
    """
    module = ModuleType("pixora")
    settings = {"FACEPASS_API_URL": api_url, "FACEPASS_API_KEY": api_key, "logger": logging.getLogger("pixora")}
    vars(module).update(settings)
    for name in ("facepass_client", "workflow"):
        SourceFileLoader(module.__name__, str(_LISTINGS / f"{name}.py.txt")).exec_module(module)
    return module
