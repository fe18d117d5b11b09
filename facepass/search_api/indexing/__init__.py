"""Calls that index and delete: each publishes the event that Pixora would publish, and waits for its outcome.

There is no second write path: nothing here writes a row of a photo.
"""

from facepass.search_api.indexing.call_metrics import measured
from facepass.search_api.indexing.idempotency import as_response
from facepass.search_api.indexing.photo_call import UPLOADS_AT_ONCE, index_wanted
from facepass.search_api.indexing.routes import PHOTO_ERRORS, index_routes
from facepass.search_api.indexing.wanted import Wanted

__all__ = [
    "PHOTO_ERRORS",
    "UPLOADS_AT_ONCE",
    "Wanted",
    "as_response",
    "index_routes",
    "index_wanted",
    "measured",
]
