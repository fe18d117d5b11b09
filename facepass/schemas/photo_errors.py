"""Why a photo could not be indexed, in words: what is wrong, and what to do about it.

For whoever asks about photos by HTTP. The code alone is in the ledger.
"""

from collections.abc import Mapping

from facepass.schemas.errors import ErrorCode

_PHOTO_ERRORS: Mapping[str, str] = {
    ErrorCode.INVALID_S3_KEY: (
        "the s3_key is no key of the photo store: it must be relative, without `..`; publish the photo again with"
        " its key"
    ),
    ErrorCode.PHOTO_NOT_FOUND: (
        "the photo store has no object of this s3_key; upload the photo, then publish or index it again"
    ),
    ErrorCode.STORE_FORBIDDEN: (
        "the photo store refuses access; give FacePass read access to it, then index the photo again"
    ),
    ErrorCode.STORE_UNAVAILABLE: (
        "the photo store does not answer; a pending photo is tried again by itself, a failed one when it is"
        " indexed again"
    ),
    ErrorCode.FILE_TOO_LARGE: (
        "the file is larger than FACEPASS_PHOTO_MAX_BYTES allows; raise that or upload a smaller photo, then index"
        " it again"
    ),
    ErrorCode.TOO_MANY_PIXELS: (
        "the photo has more pixels than FACEPASS_PHOTO_MAX_PIXELS allows; raise that or upload a smaller photo,"
        " then index it again"
    ),
    ErrorCode.UNSUPPORTED_IMAGE: (
        "the file is no JPEG, PNG or WebP photo, or an animated one; upload it as JPEG, then index it again"
    ),
    ErrorCode.DAMAGED_IMAGE: "the file is damaged or incomplete; upload it again, then index it again",
    ErrorCode.DECODER_FAILED: (
        "decoding the photo took too long or too much memory; export it anew as JPEG, then index it again"
    ),
    ErrorCode.INTERNAL: "a defect of FacePass; its log names this photo. Index it again with a newer version",
}


def photo_error_message(code: str) -> str:
    """What to tell people about a photo whose ledger row has this code; also for codes of other versions."""
    return _PHOTO_ERRORS.get(code, f"the photo could not be indexed ({code}); index it again")
