"""The page's files, read once, under an address that changes with their content."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from facepass.embedding import browser_weights, browser_weights_key

LANGUAGES = ("en", "ru")
"""Those that `static/texts` holds; the first one is taken where a browser asks for none of them."""

DETECTOR = "detector.bin"
"""Name of the weights that `js/detector.js` reads."""

_MEDIA_TYPES = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "bin": "application/octet-stream",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """The files that the page's document refers to, and the document.

    Attributes:
        version: of all files together. An address that holds it can be kept for ever.
        document: the HTML with `$` names to fill in.
        contents: by name, such as `js/main.js`; without the detector's weights.
    """

    version: str
    document: str
    contents: dict[str, bytes]

    def modules(self) -> list[str]:
        """The scripts that every visit needs, for the browser to fetch at once."""
        return [name for name in sorted(self.contents) if name.startswith("js/") and "detector" not in name]

    def text(self, language: str, key: str) -> str:
        """One text of the page, for what stands in the document itself."""
        return str(json.loads(self.contents[f"texts/{language}.json"])[key])


def read_assets() -> Assets:
    """Read the files of this package."""
    root = files("facepass.search_api.page") / "static"
    contents = dict(_walk(root, ""))
    document = contents.pop("index.html")
    digest = hashlib.sha256(document + browser_weights_key().encode())
    for name in sorted(contents):
        digest.update(name.encode() + b"\0" + contents[name])
    return Assets(version=digest.hexdigest()[:16], document=document.decode(), contents=contents)


def _walk(directory: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in directory.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.rsplit(".", 1)[-1] in {*_MEDIA_TYPES, "html"}:
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def media_type(name: str) -> str:
    """The media type of a file, by the end of its name."""
    return _MEDIA_TYPES[name.rsplit(".", 1)[-1]]


@cache
def detector_weights() -> bytes:
    """The browser's face detector, made at its first use: it takes a third of a second."""
    return browser_weights()
