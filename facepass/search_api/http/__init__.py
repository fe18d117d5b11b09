"""The share of every route: reading bodies and paths, answering errors, bounds, the request log, the connection.

Knows nothing of sessions, photos or keys.
"""

from facepass.search_api.http.api_docs import DocumentedApp, add_docs, documented_body
from facepass.search_api.http.concurrency_limit import ConcurrencyLimit
from facepass.search_api.http.direct_route import DirectRoute, check_direct_routes
from facepass.search_api.http.errors import (
    RETRY_AFTER_DETAIL,
    answer_errors,
    documented,
    error_body,
    lease_expired,
)
from facepass.search_api.http.json_answers import JsonResponse, json_answer
from facepass.search_api.http.middleware import DrainRefused, RequestLog
from facepass.search_api.http.multipart import (
    FORM_OVERHEAD_BYTES,
    ImageForm,
    checked_fields,
)
from facepass.search_api.http.paths import PREFIXES, PhotoInPath, SegmentPaths, SessionInPath
from facepass.search_api.http.protocol import BoundedReads
from facepass.search_api.http.request_body import is_form, read_form, read_json

__all__ = [
    "FORM_OVERHEAD_BYTES",
    "PREFIXES",
    "RETRY_AFTER_DETAIL",
    "BoundedReads",
    "ConcurrencyLimit",
    "DirectRoute",
    "DocumentedApp",
    "DrainRefused",
    "ImageForm",
    "JsonResponse",
    "PhotoInPath",
    "RequestLog",
    "SegmentPaths",
    "SessionInPath",
    "add_docs",
    "answer_errors",
    "check_direct_routes",
    "checked_fields",
    "documented",
    "documented_body",
    "error_body",
    "is_form",
    "json_answer",
    "lease_expired",
    "read_form",
    "read_json",
]
