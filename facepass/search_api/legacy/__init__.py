"""The first generation's routes, for clients that still call them. Thin, and on their way out."""

from facepass.search_api.legacy.routes import legacy_routes

__all__ = [
    "legacy_routes",
]
