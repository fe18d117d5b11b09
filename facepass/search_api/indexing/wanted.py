"""Reading what a call asks for, into memory alone and within bounds."""

from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from facepass.embedding import read_checked_header
from facepass.schemas.errors import ErrorCode, PermanentError, invalid_input
from facepass.schemas.events import MAX_S3_KEY_BYTES
from facepass.schemas.http.index_bodies import PhotoToIndex, PhotoToUpload
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import SearchSettings
from facepass.search_api.http import ImageForm, arriving, checked_fields, read_image_form
from facepass.storage.photos import check_key, invalid_key
from facepass.storage.writes import UPLOADS_PREFIX

PHOTO_BODY_BYTES = 64 * 1024
"""Two ids and a key, each character escaped, take a quarter of it."""

BATCH_BODY_BYTES = 16 * 1024 * 1024
"""2,000 photos with ids and keys of full length, each character escaped; ordinary ones take half a megabyte."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One photo to index: by its key in the photo store, or as an image to be stored there first."""

    session_id: SessionId
    photo_id: PhotoId
    s3_key: str | None = None
    image: bytes | None = field(default=None, repr=False)


def is_form(request: Request) -> bool:
    """Whether the body is a form, with the image in it."""
    return request.headers.get("content-type", "").lower().startswith("multipart/")


async def read_wanted(request: Request, limits: SearchSettings) -> Wanted:
    """The photo that a call wants indexed.

    Args:
        limits: of an uploaded image: those of selfies.

    Raises:
        PermanentError: `invalid_parameter`, `invalid_id`, `invalid_s3_key`, `upload_timeout`, `file_too_large`,
            `too_many_pixels`, `unsupported_image`, `damaged_image`.
    """
    if is_form(request):
        return await _read_upload(request, limits)
    photo = await read_json(request, PhotoToIndex, max_bytes=PHOTO_BODY_BYTES)
    check_s3_key(photo.s3_key)
    return Wanted(session_id=photo.session_id, photo_id=photo.photo_id, s3_key=photo.s3_key)


async def read_upload(request: Request, limits: SearchSettings) -> ImageForm:
    """A form with one image and fields; neither is checked.

    Raises:
        PermanentError: `invalid_parameter`, `upload_timeout`, `file_too_large`.
    """
    return await read_image_form(
        request.headers.get("content-type", ""),
        _announced(request),
        arriving(request),
        max_bytes=limits.selfie_max_bytes,
    )


async def _read_upload(request: Request, limits: SearchSettings) -> Wanted:
    form = await read_upload(request, limits)
    photo = checked_fields(form.fields, PhotoToUpload)
    (image,) = form.images
    read_checked_header(image, limits.selfie_max_pixels)
    return Wanted(session_id=photo.session_id, photo_id=photo.photo_id, image=image)


async def read_json(request: Request, model: type[M], *, max_bytes: int) -> M:
    """A JSON body as its model.

    Raises:
        PermanentError: `invalid_parameter`, `invalid_id`, `upload_timeout`, `file_too_large`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise PermanentError(
            ErrorCode.INVALID_PARAMETER, "send JSON with the content type application/json", field="content-type"
        )
    body = await _read(request, max_bytes)
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        raise invalid_input(exc) from exc


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


async def _read(request: Request, max_bytes: int) -> bytes:
    too_large = PermanentError(
        ErrorCode.FILE_TOO_LARGE, f"the body has more than {max_bytes} bytes", limit=max_bytes
    )
    if (_announced(request) or 0) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in arriving(request):
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


def _announced(request: Request) -> int | None:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else None
