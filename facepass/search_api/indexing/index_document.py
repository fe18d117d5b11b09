"""The OpenAPI document's part on the calls that index and delete: their errors, and a batch's progress."""

from facepass.schemas.errors import ErrorCode
from facepass.search_api.access import KEY_ERRORS, LIMIT_ERRORS

_EVERY = (
    *KEY_ERRORS,
    *LIMIT_ERRORS,
    ErrorCode.INVALID_ID,
    ErrorCode.INTERNAL,
    ErrorCode.BROKER_UNAVAILABLE,
    ErrorCode.EVENT_REFUSED,
    ErrorCode.OVERLOADED,
)
_BODY = (
    ErrorCode.INVALID_PARAMETER,
    ErrorCode.UPLOAD_TIMEOUT,
    ErrorCode.FILE_TOO_LARGE,
    ErrorCode.IDEMPOTENCY_MISMATCH,
    ErrorCode.REQUEST_UNDER_WAY,
)
PHOTO_ERRORS = (
    *_EVERY,
    *_BODY,
    ErrorCode.NO_FACE,
    ErrorCode.FILTERED,
    ErrorCode.FENCED,
    ErrorCode.INVALID_S3_KEY,
    ErrorCode.PHOTO_NOT_FOUND,
    ErrorCode.STORE_FORBIDDEN,
    ErrorCode.STORE_UNAVAILABLE,
    ErrorCode.TOO_MANY_PIXELS,
    ErrorCode.UNSUPPORTED_IMAGE,
    ErrorCode.DAMAGED_IMAGE,
    ErrorCode.DECODER_FAILED,
)
BATCH_ERRORS = (*_EVERY, *_BODY)
DELETION_ERRORS = (*_EVERY, ErrorCode.PENDING)

EVENTS_EXAMPLE = """event: progress
data: {"indexed":117,"failed":0,"no_face":2,"pending":1}

: still waiting

event: result
data: {"indexed":118,"failed":0,"errors":[],"no_face":2,"pending":0,"revision":12}

"""
