"""The photo that a call asks to index: by its key in the photo store, or as an image."""

from dataclasses import dataclass, field

from fastapi import Request

from facepass.embedding import read_checked_header
from facepass.schemas.events import MAX_S3_KEY_BYTES
from facepass.schemas.http.index_bodies import PhotoToIndex, PhotoToUpload
from facepass.schemas.ids import UPLOADS_PREFIX, PhotoId, SessionId
from facepass.schemas.settings import SearchSettings
from facepass.search_api.http import checked_fields, is_form, read_form, read_json
from facepass.storage.photos import check_key, invalid_key

PHOTO_BODY_BYTES = 64 * 1024
"""Two ids and a key, each character escaped, take a quarter of it."""

BATCH_BODY_BYTES = 16 * 1024 * 1024
"""2,000 photos with ids and keys of full length, each character escaped; ordinary ones take half a megabyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPhoto:
    """One photo to index. An image is to be stored in the photo store first."""

    session_id: SessionId
    photo_id: PhotoId
    s3_key: str | None = None
    image: bytes | None = field(default=None, repr=False)


async def read_asked_photo(request: Request, limits: SearchSettings) -> AskedPhoto:
    """The photo that a call wants indexed.

    Args:
        limits: of an uploaded image: those of selfies.

    Raises:
        PermanentError: `invalid_parameter`, `invalid_id`, `invalid_s3_key`, `upload_timeout`, `file_too_large`,
            `too_many_pixels`, `unsupported_image`, `damaged_image`.
    """
    if is_form(request):
        return await _read_image(request, limits)
    photo = await read_json(request, PhotoToIndex, max_bytes=PHOTO_BODY_BYTES)
    check_s3_key(photo.s3_key)
    return AskedPhoto(session_id=photo.session_id, photo_id=photo.photo_id, s3_key=photo.s3_key)


async def _read_image(request: Request, limits: SearchSettings) -> AskedPhoto:
    form = await read_form(request, max_bytes=limits.selfie_max_bytes)
    photo = checked_fields(form.fields, PhotoToUpload)
    (image,) = form.images
    read_checked_header(image, limits.selfie_max_pixels)
    return AskedPhoto(session_id=photo.session_id, photo_id=photo.photo_id, image=image)


def check_s3_key(s3_key: str) -> None:
    """Refuse what is no key of a photo that a caller may name.

    Raises:
        PermanentError: `invalid_s3_key`.
    """
    check_key(s3_key)
    if len(s3_key.encode()) > MAX_S3_KEY_BYTES:
        raise invalid_key(f"has more than {MAX_S3_KEY_BYTES} bytes")
    if s3_key.startswith(UPLOADS_PREFIX):
        raise invalid_key("belongs to FacePass itself")
