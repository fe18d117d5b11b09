"""Pixels to vectors: decoding, face detection, alignment, embedding. No database, no Kafka.

Each name is imported from its module when it is first asked for: a decoder process needs a tenth of all that.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facepass.embedding.decoding import Picture, decode_image
    from facepass.embedding.engine import FaceEngine, open_engine, read_spec

__all__ = ["FaceEngine", "Picture", "decode_image", "open_engine", "read_spec"]

_DECODING = frozenset({"Picture", "decode_image"})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'decoding' if name in _DECODING else 'engine'}"), name)
