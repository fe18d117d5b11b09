"""Pixels to vectors: decoding, face detection, alignment, embedding. No database, no Kafka.

Each name is imported from its module when it is first asked for: a decoder process needs a tenth of all that.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facepass.embedding.browser_detector import browser_weights, browser_weights_key
    from facepass.embedding.decoding import Picture, decode_image, read_checked_header
    from facepass.embedding.engine import FaceEngine, open_engine, read_spec
    from facepass.embedding.folding import fold
    from facepass.embedding.packs import open_pack

__all__ = [
    "FaceEngine",
    "Picture",
    "browser_weights",
    "browser_weights_key",
    "decode_image",
    "fold",
    "open_engine",
    "open_pack",
    "read_checked_header",
    "read_spec",
]

_MODULES = {
    "Picture": "decoding",
    "browser_weights": "browser_detector",
    "browser_weights_key": "browser_detector",
    "decode_image": "decoding",
    "fold": "folding",
    "open_pack": "packs",
    "read_checked_header": "decoding",
}
"""Where a name is that is not the engine's."""


# Python calls this for each name that the module does not hold (PEP 562).
def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'engine')}"), name)
