"""The selfie page: a guest's way to the photos, served from files inside this package."""

from facepass.search_api.page.routes import page_routes

__all__ = [
    "page_routes",
]
