"""What every route shares: reading bodies and paths, answering errors, bounds, the request log, the connection.

Knows nothing of sessions, photos or keys.
"""

from facepass.search_api.http.api_docs import DocumentedApp, add_docs
from facepass.search_api.http.concurrency_limit import Slots
from facepass.search_api.http.errors import (
    RETRY_AFTER_DETAIL,
    answer_errors,
    documented,
    error_body,
    lease_expired,
)
from facepass.search_api.http.middleware import DrainRefused, RequestLog
from facepass.search_api.http.multipart import (
    FORM_OVERHEAD_BYTES,
    ImageForm,
    SearchForm,
    checked_fields,
    read_image_form,
    read_search_form,
)
from facepass.search_api.http.paths import PREFIXES, PhotoInPath, SegmentPaths, SessionInPath
from facepass.search_api.http.protocol import BoundedReads
from facepass.search_api.http.request_body import arriving

__all__ = [
    "FORM_OVERHEAD_BYTES",
    "PREFIXES",
    "RETRY_AFTER_DETAIL",
    "BoundedReads",
    "DocumentedApp",
    "DrainRefused",
    "ImageForm",
    "PhotoInPath",
    "RequestLog",
    "SearchForm",
    "SegmentPaths",
    "SessionInPath",
    "Slots",
    "add_docs",
    "answer_errors",
    "arriving",
    "checked_fields",
    "documented",
    "error_body",
    "lease_expired",
    "read_image_form",
    "read_search_form",
]
