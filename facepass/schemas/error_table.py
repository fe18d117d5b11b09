"""The meaning of each error to whoever hears of it: by HTTP, about a photo, on the command line.

A code that no HTTP answer has is not in the table; one that is answered with nevertheless is a defect.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from facepass.schemas.errors import ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEntry:
    """The entry of one code: what is said of it.

    Attributes:
        status: of the HTTP answer.
        example: a message that comes with it, for the API's documentation.
        retry_after: seconds, for the header Retry-After; None: to repeat the call is no use, or only the failure
            itself knows when.
        challenge: WWW-Authenticate, of a 401.
        photo: what to tell people about a photo that is not indexed for this: what is wrong, and what to do.
        command_line: for an operator on the command line, about what the failure's own message cannot know.
    """

    status: int
    example: str
    retry_after: int | None = None
    challenge: str | None = None
    photo: str | None = None
    command_line: str | None = None

    @property
    def clients_fault(self) -> bool:
        """True if the call itself has to change; else the same call may succeed elsewhere or later."""
        return self.status < 500  # noqa: PLR2004 - server errors


ERROR_TABLE: Mapping[str, ErrorEntry] = {
    # what is asked for
    ErrorCode.INVALID_ID: ErrorEntry(status=422, example="session_id: String should have at least 1 character"),
    ErrorCode.INVALID_PARAMETER: ErrorEntry(
        status=422, example="threshold: Input should be less than or equal to 1"
    ),
    ErrorCode.NOT_FOUND: ErrorEntry(status=404, example="no such route; see /docs"),
    ErrorCode.METHOD_NOT_ALLOWED: ErrorEntry(
        status=405, example="this route exists for another method; see /docs"
    ),
    ErrorCode.UPLOAD_TIMEOUT: ErrorEntry(status=408, example="the upload took longer than 120 seconds"),
    # who calls, and how often
    ErrorCode.KEY_REQUIRED: ErrorEntry(
        status=401,
        example="send a valid API key in the header X-API-Key",
        challenge='ApiKey realm="FacePass"',
    ),
    ErrorCode.TOKEN_REQUIRED: ErrorEntry(
        status=401,
        example="this session needs its own link; ask whoever invited you for it",
        challenge='Bearer realm="FacePass"',
    ),
    ErrorCode.TOKEN_EXPIRED: ErrorEntry(
        status=401,
        example="this link has expired; ask whoever invited you for a new one",
        challenge='Bearer realm="FacePass", error="invalid_token"',
    ),
    ErrorCode.SCOPE_REQUIRED: ErrorEntry(status=403, example="the API key lacks the scope index"),
    ErrorCode.RATE_LIMITED: ErrorEntry(
        status=429, example="more than 100 calls in the time of the limit; wait 12 seconds"
    ),
    # sessions and photos
    ErrorCode.SESSION_NOT_FOUND: ErrorEntry(status=404, example="nothing is known of this session"),
    ErrorCode.FACEPASS_DISABLED: ErrorEntry(status=403, example="FacePass is switched off for this session"),
    ErrorCode.SESSION_UNANNOUNCED: ErrorEntry(
        status=403,
        example="this session was not announced to FacePass; publish session-updated for it",
    ),
    ErrorCode.PHOTO_UNKNOWN: ErrorEntry(
        status=404, example="nothing was ever heard of this photo in this session"
    ),
    ErrorCode.EVENT_NOT_FOUND: ErrorEntry(status=404, example="no such event; it may have been deleted"),
    # images
    ErrorCode.NO_FACE: ErrorEntry(
        status=400,
        example="no face was found in the selfie; take another one, frontal and well lit",
        photo="no face was found in the photo",
    ),
    ErrorCode.FILTERED: ErrorEntry(
        status=400,
        example="the photo has faces, but none good enough to search for",
        photo="the photo has faces, but none good enough to search for",
    ),
    ErrorCode.FILE_TOO_LARGE: ErrorEntry(
        status=413,
        example="the selfie has more than 10000000 bytes; send a smaller one",
        photo="the file is larger than FACEPASS_PHOTO_MAX_BYTES allows; raise that or upload a smaller photo, then"
        " index it again",
    ),
    ErrorCode.TOO_MANY_PIXELS: ErrorEntry(
        status=413,
        example="the image has more than 16777216 pixels",
        photo="the photo has more pixels than FACEPASS_PHOTO_MAX_PIXELS allows; raise that or upload a smaller"
        " photo, then index it again",
    ),
    ErrorCode.UNSUPPORTED_IMAGE: ErrorEntry(
        status=415,
        example="not a JPEG, PNG or WebP file",
        photo="the file is no JPEG, PNG or WebP photo, or an animated one; upload it as JPEG, then index it again",
    ),
    ErrorCode.DAMAGED_IMAGE: ErrorEntry(
        status=422,
        example="the image is damaged or incomplete",
        photo="the file is damaged or incomplete; upload it again, then index it again",
    ),
    ErrorCode.DECODER_FAILED: ErrorEntry(
        status=422,
        example="decoding the image took too long or too much memory",
        photo="decoding the photo took too long or too much memory; export it anew as JPEG, then index it again",
    ),
    # photo store
    ErrorCode.INVALID_S3_KEY: ErrorEntry(
        status=422,
        example="s3_key holds '..'",
        photo="the s3_key is no key of the photo store: it must be relative, without `..`; publish the photo again"
        " with its key",
    ),
    ErrorCode.PHOTO_NOT_FOUND: ErrorEntry(
        status=422,
        example="the photo store has no object of this s3_key",
        photo="the photo store has no object of this s3_key; upload the photo, then publish or index it again",
    ),
    ErrorCode.STORE_FORBIDDEN: ErrorEntry(
        status=422,
        example="the photo store refuses access",
        photo="the photo store refuses access; give FacePass read access to it, then index the photo again",
    ),
    ErrorCode.STORE_UNAVAILABLE: ErrorEntry(
        status=503,
        example="the photo store does not answer",
        retry_after=30,
        photo="the photo store does not answer; a pending photo is tried again by itself, a failed one when it is"
        " indexed again",
    ),
    # calls that index or delete
    ErrorCode.FENCED: ErrorEntry(
        status=409,
        example="the photo or its session was deleted",
        photo="the photo or its session was deleted",
    ),
    ErrorCode.PENDING: ErrorEntry(
        status=503,
        example="the deletion is accepted, but not applied yet; call again for the acknowledgement",
        retry_after=10,
        photo="the photo is not indexed yet; FacePass goes on with it",
    ),
    ErrorCode.REQUEST_UNDER_WAY: ErrorEntry(
        status=409, example="the first call with this Idempotency-Key has no answer yet", retry_after=1
    ),
    ErrorCode.IDEMPOTENCY_MISMATCH: ErrorEntry(
        status=422, example="this Idempotency-Key was used with another request; take a new one"
    ),
    # what FacePass itself lacks
    ErrorCode.INTERNAL: ErrorEntry(
        status=500,
        example="a defect of FacePass; its log has more under this request's id",
        photo="a defect of FacePass; its log names this photo. Index it again with a newer version",
    ),
    ErrorCode.DATABASE_UNAVAILABLE: ErrorEntry(
        status=503,
        example="PostgreSQL does not answer",
        retry_after=5,
        command_line="Is PostgreSQL running where FACEPASS_DATABASE says? `facepass doctor` looks.",
    ),
    ErrorCode.BROKER_UNAVAILABLE: ErrorEntry(
        status=503,
        example="Kafka does not answer: try again later",
        retry_after=5,
        command_line="Is Kafka running where FACEPASS_KAFKA says? `facepass doctor` looks.",
    ),
    ErrorCode.EVENT_REFUSED: ErrorEntry(
        status=503, example="Kafka refuses: TopicAuthorizationFailedError", retry_after=60
    ),
    # a lease comes back with the first poll after an outage
    ErrorCode.LEASE_EXPIRED: ErrorEntry(
        status=503, example="deletions have not been seen recently enough to answer", retry_after=5
    ),
    ErrorCode.MEMORY_BUDGET: ErrorEntry(
        status=503, example="the session does not fit into the memory budget", retry_after=30
    ),
    # a search takes well under a second
    ErrorCode.OVERLOADED: ErrorEntry(status=503, example="too many searches are under way", retry_after=1),
}


def photo_message(code: str) -> str:
    """The text for people about a photo that is not indexed for this code; also for codes of other versions."""
    entry = ERROR_TABLE.get(code)
    return (entry and entry.photo) or f"the photo could not be indexed ({code}); index it again"
