"""The HTTP API: one FastAPI application, and a second one for the control port.

The only importer of FastAPI. Searches the shards and publishes events; writes no row of a photo.
"""

from facepass.search_api.app import create_app
from facepass.search_api.control import CONTROL_HOST, create_control_app
from facepass.search_api.resources import Resources

__all__ = [
    "CONTROL_HOST",
    "Resources",
    "create_app",
    "create_control_app",
]
