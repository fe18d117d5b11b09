"""The reading of multipart bodies with images, into memory and nowhere else.

Starlette's own form parser spools uploads to a temporary file, and a selfie must never touch a disk. This one
takes the parser of `python_multipart` and keeps the images in RAM up to the limit; what goes over a limit is
refused while it streams in, before more of it is read.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from facepass.schemas.errors import ErrorCode, PermanentError, invalid_input

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

IMAGE_NAMES = frozenset({"file", "image"})
"""The part's name decides, not its file name or declared type: Pixora's client sends neither of use."""

MAX_PARTS = 20
"""A search has five selfies and five fields; the rest is room for clients that send more than they need."""

MAX_FIELD_BYTES = 4096
"""The longest field is an id: 255 characters of at most 4 bytes."""

FORM_OVERHEAD_BYTES = 64 * 1024
"""Boundaries, headers and small fields beside the images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageForm:
    """A complete body: the images' bytes as sent, in their order, and the other parts by name, unchecked."""

    images: tuple[bytes, ...] = field(repr=False)
    fields: Mapping[str, str]


async def read_image_form(
    content_type: str,
    content_length: int | None,
    chunks: AsyncIterator[bytes],
    *,
    max_bytes: int,
    most_images: int = 1,
) -> ImageForm:
    """Read a multipart body with one to `most_images` images to its end.

    Args:
        content_type: the request's header, with the boundary.
        content_length: the announced length, if there is one: too large a body is refused unread.
        chunks: the body as it arrives.
        max_bytes: of one image.

    Raises:
        PermanentError: `file_too_large`, `invalid_parameter`.
    """
    most = most_images * max_bytes + FORM_OVERHEAD_BYTES
    if content_length is not None and content_length > most:
        raise _too_large(max_bytes)
    form = _Form(max_bytes, most_images)
    parser = _parser(content_type, form)
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > most:
            raise _too_large(max_bytes)
        try:
            parser.write(chunk)
        except FormParserError as exc:
            raise _malformed() from exc
        if received - form.image_bytes > FORM_OVERHEAD_BYTES:
            raise PermanentError(
                ErrorCode.INVALID_PARAMETER,
                f"the body has more than {FORM_OVERHEAD_BYTES} bytes beside its images",
                field="body",
                limit=FORM_OVERHEAD_BYTES,
            )
    return form.finished()


_Fields = TypeVar("_Fields", bound=BaseModel)


def checked_fields(fields: Mapping[str, str], model: type[_Fields]) -> _Fields:
    """The fields of a form as their model.

    Raises:
        PermanentError: `invalid_parameter` or `invalid_id`, naming the first field that is wrong.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as exc:
        raise invalid_input(exc) from exc


def _parser(content_type: str, form: "_Form") -> MultipartParser:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise PermanentError(
            ErrorCode.INVALID_PARAMETER,
            "send multipart/form-data with the image as `file` or `image`, and the other fields beside it",
            field="content-type",
        )
    try:
        return MultipartParser(boundary, form.callbacks())
    except FormParserError as exc:
        raise _malformed() from exc


class _Form:
    """The parts of a form as the parser's callbacks collect them, and the limits they hold."""

    def __init__(self, max_bytes: int, most_images: int) -> None:
        self.image_bytes = 0
        self._max_bytes = max_bytes
        self._most_images = most_images
        self._parts = 0
        self._complete = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._name = ""
        self._part = BytesIO()
        self._images: list[BytesIO] = []
        self._fields: dict[str, str] = {}

    def callbacks(self) -> "MultipartCallbacks":
        """The methods by the names that the parser knows them by."""
        # The parser calls them while `read_image_form` writes to it.
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._name_part,
            "on_part_data": self._part_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def finished(self) -> ImageForm:
        """The form, once it is complete; raises PermanentError `invalid_parameter` if it is not."""
        if not self._complete:
            raise _malformed()
        if not self._images:
            raise PermanentError(
                ErrorCode.INVALID_PARAMETER, "the image is missing: send it as `file` or `image`", field="file"
            )
        return ImageForm(images=tuple(image.getvalue() for image in self._images), fields=self._fields)

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise PermanentError(ErrorCode.INVALID_PARAMETER, f"more than {MAX_PARTS} parts", limit=MAX_PARTS)
        self._disposition = b""
        self._part = BytesIO()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _name_part(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise _malformed()
        self._name = options[b"name"].decode("utf-8", "replace")
        if self._name in IMAGE_NAMES:
            if len(self._images) == self._most_images:
                raise _too_many(self._most_images)
            self._images.append(self._part)
        elif self._name in self._fields:
            raise PermanentError(ErrorCode.INVALID_PARAMETER, "a field was sent twice; send each once")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        size = self._part.tell() + end - start
        if self._name in IMAGE_NAMES:
            if size > self._max_bytes:
                raise _too_large(self._max_bytes)
            self.image_bytes += end - start
        elif size > MAX_FIELD_BYTES:
            raise PermanentError(
                ErrorCode.INVALID_PARAMETER,
                f"a field has more than {MAX_FIELD_BYTES} bytes; an image must be sent as `file` or `image`",
                limit=MAX_FIELD_BYTES,
            )
        self._part.write(memoryview(data)[start:end])

    def _end_part(self) -> None:
        if self._name in IMAGE_NAMES:
            return
        try:
            self._fields[self._name] = self._part.getvalue().decode()
        except UnicodeDecodeError as exc:
            raise PermanentError(ErrorCode.INVALID_PARAMETER, "a field is not valid UTF-8") from exc

    def _end(self) -> None:
        self._complete = True


def _too_large(max_bytes: int) -> PermanentError:
    return PermanentError(
        ErrorCode.FILE_TOO_LARGE,
        f"the image has more than {max_bytes} bytes; send a smaller one",
        limit=max_bytes,
    )


def _too_many(most_images: int) -> PermanentError:
    return PermanentError(
        ErrorCode.INVALID_PARAMETER, f"more images than {most_images}", field="file", limit=most_images
    )


def _malformed() -> PermanentError:
    return PermanentError(
        ErrorCode.INVALID_PARAMETER, "the body is not complete, well-formed multipart/form-data", field="body"
    )
