"""Calls that index and delete: each publishes the event that Pixora would publish, and waits for its outcome.

There is no second write path: nothing here writes a row of a photo.
"""

from facepass.search_api.indexing.asked_photo import AskedPhoto
from facepass.search_api.indexing.call_metrics import measured
from facepass.search_api.indexing.idempotency import as_response
from facepass.search_api.indexing.index_document import PHOTO_ERRORS
from facepass.search_api.indexing.index_resources import IndexResources
from facepass.search_api.indexing.photo_call import UPLOADS_AT_ONCE, index_asked_photo
from facepass.search_api.indexing.routes import index_routes

__all__ = [
    "PHOTO_ERRORS",
    "UPLOADS_AT_ONCE",
    "AskedPhoto",
    "IndexResources",
    "as_response",
    "index_asked_photo",
    "index_routes",
    "measured",
]
