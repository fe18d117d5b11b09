"""The HTTP API: `create_app(parts)` builds it."""

from facepass.search_api.app import create_app
from facepass.search_api.parts import Parts

__all__ = ["Parts", "create_app"]
