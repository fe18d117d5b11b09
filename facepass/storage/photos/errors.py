"""The meaning of the photo stores' failures, said once for both kinds, and which keys are none."""

import errno
import re

from botocore.exceptions import ClientError

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError

_MENDABLE_REFUSALS = {"RequestTimeTooSkewed", "ExpiredToken", "ExpiredTokenException", "NoSuchBucket"}
"""S3's 403 and 404 that are about this machine's clock, credentials or settings, not about the photo."""

_INVALID_KEYS = {"KeyTooLongError", "InvalidURI", "InvalidObjectName", "XMinioInvalidObjectName"}

_NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO}

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
"""A key names a photo in the store that FacePass was given, and no other place."""


def check_key(s3_key: str) -> None:
    """Refuse what names no object inside the photo store.

    Raises:
        PermanentError: `invalid_s3_key`.
    """
    if not s3_key:
        raise invalid_key("is empty")
    if s3_key.startswith("/"):
        raise invalid_key("is absolute; it must be relative to the photo store")
    if "\x00" in s3_key or any("\ud800" <= character <= "\udfff" for character in s3_key):
        raise invalid_key("holds a character that no key may hold")
    if ".." in s3_key.split("/"):
        raise invalid_key("holds '..'")
    if _URL.match(s3_key):
        raise invalid_key("is a URL; it must be a key of the photo store")


def from_s3_answer(error: ClientError) -> FacePassError:
    """The error that S3's refusal means for one photo."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in _INVALID_KEYS:
        return invalid_key("is not one that S3 takes")
    if code not in _MENDABLE_REFUSALS:
        if status == 404:  # noqa: PLR2004 - HTTP
            return not_found()
        if status in {401, 403}:
            return forbidden(code)
    return unavailable(f"{status} {code}")


def from_os_error(error: OSError) -> FacePassError:
    """The error that the operating system's refusal means for one photo."""
    if error.errno in _NO_SUCH_FILE:
        return not_found()
    if error.errno in {errno.EACCES, errno.EPERM}:
        return forbidden(errno_name(error))
    return unavailable(errno_name(error))


def errno_name(error: OSError) -> str:
    """The error's name, such as `ENOENT`; its class where the system gave no number that has one."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def invalid_key(reason: str) -> PermanentError:
    """The error of a key that names no photo of the store."""
    return PermanentError(ErrorCode.INVALID_S3_KEY, f"s3_key {reason}")


def not_found() -> PermanentError:
    """The error of a photo that is not there."""
    return PermanentError(ErrorCode.PHOTO_NOT_FOUND, "the photo store has no photo of that key")


def forbidden(reason: str) -> PermanentError:
    """The error of a store that refuses access to the photo."""
    return PermanentError(ErrorCode.STORE_FORBIDDEN, f"the photo store refuses access ({reason})")


def too_large(max_bytes: int) -> PermanentError:
    """The error of a photo of more than `max_bytes` bytes."""
    return PermanentError(ErrorCode.FILE_TOO_LARGE, f"the photo has more than {max_bytes} bytes", limit=max_bytes)


def unavailable(reason: str) -> TransientError:
    """The error of a store that may answer later."""
    return TransientError(ErrorCode.STORE_UNAVAILABLE, f"photo store: {reason}")
