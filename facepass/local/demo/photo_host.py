"""A stand-in for the operator's own host of photos, for the demo's selfie page alone.

FacePass serves no photos: in production the page's pictures come from wherever the operator keeps them for guests
(FACEPASS_PHOTO_URL). This server knows the demo's photos by id, listens on 127.0.0.1, and ends with the demo.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

from PIL import Image, ImageOps

_THUMBNAIL = (480, 480)
_TYPES = {".png": "image/png", ".webp": "image/webp"}


@contextmanager
def photo_host(files: Mapping[str, Path]) -> Iterator[dict[str, str]]:
    """Serve the files of these photo ids for the time of the context; gives the settings that name them."""

    class Handler(BaseHTTPRequestHandler):
        # http.server finds this by its name, once a GET comes.
        def do_GET(self) -> None:
            kind, _, photo_id = self.path.removeprefix("/").partition("/")
            file = files.get(unquote(photo_id))
            if file is None or kind not in {"photos", "thumbnails"}:
                self.send_error(404)
                return
            content = _thumbnail(file) if kind == "thumbnails" else file.read_bytes()
            self.send_response(200)
            small = kind == "thumbnails"
            self.send_header("Content-Type", "image/jpeg" if small else _TYPES.get(file.suffix, "image/jpeg"))
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "max-age=3600")
            self.send_header("Access-Control-Allow-Origin", "*")  # the page reads photos to download them
            self.end_headers()
            with suppress(ConnectionError):  # a guest who leaves the page wants no more of it
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Print nothing: the demo prints its own lines."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield {
                "FACEPASS_PHOTO_URL": f"{base}/photos/{{photo_id}}",
                "FACEPASS_THUMBNAIL_URL": f"{base}/thumbnails/{{photo_id}}",
            }
        finally:
            server.shutdown()


@lru_cache(maxsize=512)
def _thumbnail(file: Path) -> bytes:
    with Image.open(file) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    upright.thumbnail(_THUMBNAIL)
    encoded = io.BytesIO()
    upright.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()
