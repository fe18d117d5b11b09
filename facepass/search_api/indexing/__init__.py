"""Calls that index and delete: each publishes the event that Pixora would publish, and waits for its outcome."""

from facepass.search_api.indexing.routes import index_routes

__all__ = ["index_routes"]
