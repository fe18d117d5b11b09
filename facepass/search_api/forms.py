"""Reads a search's multipart body into memory, and nowhere else.

Starlette's own form parser spools uploads to a temporary file, and a selfie must never touch a disk. This one
takes the parser of `python_multipart` and keeps the selfie in RAM up to the limit; what goes over a limit is
refused while it streams in, before more of it is read.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.http import SearchParameters

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

SELFIE_NAMES = frozenset({"file", "image"})
"""The part's name decides, not its file name or declared type: Pixora's client sends neither of use."""

MAX_PARTS = 20
"""A search has six fields; the rest is room for clients that send more than they need."""

MAX_FIELD_BYTES = 4096
"""The longest field is a session id: 255 characters of at most 4 bytes."""

FORM_OVERHEAD_BYTES = 64 * 1024
"""Boundaries, headers and small fields beside the selfie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchForm:
    """A complete search request: the selfie's bytes as sent, and the checked fields."""

    selfie: bytes = field(repr=False)
    parameters: SearchParameters


async def read_search_form(
    content_type: str, content_length: int | None, chunks: AsyncIterator[bytes], *, max_bytes: int
) -> SearchForm:
    """Read a multipart body to its end.

    Args:
        content_type: the request's header, with the boundary.
        content_length: the announced length, if there is one: too large a body is refused unread.
        chunks: the body as it arrives.
        max_bytes: of the selfie.

    Raises:
        PermanentError: `file_too_large`, `invalid_parameter` or `invalid_id`.
    """
    if content_length is not None and content_length > max_bytes + FORM_OVERHEAD_BYTES:
        raise _too_large(max_bytes)
    form = _Form(max_bytes)
    parser = _parser(content_type, form)
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > max_bytes + FORM_OVERHEAD_BYTES:
            raise _too_large(max_bytes)
        try:
            parser.write(chunk)
        except FormParserError as exc:
            raise _malformed() from exc
    return form.finished()


def _parser(content_type: str, form: "_Form") -> MultipartParser:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise PermanentError(
            ErrorCode.INVALID_PARAMETER,
            "send multipart/form-data with the selfie as `file` or `image`, and `session_id`",
            field="content-type",
        )
    try:
        return MultipartParser(boundary, form.callbacks())
    except FormParserError as exc:
        raise _malformed() from exc


class _Form:
    """What the parser's callbacks collect, and the limits they hold."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts = 0
        self._complete = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._name = ""
        self._part = BytesIO()
        self._selfie: BytesIO | None = None
        self._fields: dict[str, str] = {}

    def callbacks(self) -> "MultipartCallbacks":
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

    def finished(self) -> SearchForm:
        if not self._complete:
            raise _malformed()
        if self._selfie is None:
            raise PermanentError(
                ErrorCode.INVALID_PARAMETER, "the selfie is missing: send it as `file` or `image`", field="file"
            )
        try:
            parameters = SearchParameters.model_validate(self._fields)
        except ValidationError as exc:
            raise invalid_parameter(exc) from exc
        return SearchForm(selfie=self._selfie.getvalue(), parameters=parameters)

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
        if self._name in self._fields or (self._name in SELFIE_NAMES and self._selfie is not None):
            raise PermanentError(
                ErrorCode.INVALID_PARAMETER, "a field was sent twice; send one selfie and each field once"
            )
        if self._name in SELFIE_NAMES:
            self._selfie = self._part

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        size = self._part.tell() + end - start
        if self._name in SELFIE_NAMES:
            if size > self._max_bytes:
                raise _too_large(self._max_bytes)
        elif size > MAX_FIELD_BYTES:
            raise PermanentError(
                ErrorCode.INVALID_PARAMETER,
                f"a field has more than {MAX_FIELD_BYTES} bytes; the selfie must be sent as `file` or `image`",
                limit=MAX_FIELD_BYTES,
            )
        self._part.write(memoryview(data)[start:end])

    def _end_part(self) -> None:
        if self._name in SELFIE_NAMES:
            return
        try:
            self._fields[self._name] = self._part.getvalue().decode()
        except UnicodeDecodeError as exc:
            raise PermanentError(ErrorCode.INVALID_PARAMETER, "a field is not valid UTF-8") from exc

    def _end(self) -> None:
        self._complete = True


def invalid_parameter(exc: ValidationError) -> PermanentError:
    """The first thing that is wrong with the fields, in our words and without their content."""
    first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    present = first["type"] != "missing"
    code = ErrorCode.INVALID_ID if name == "session_id" and present else ErrorCode.INVALID_PARAMETER
    return PermanentError(code, f"{name}: {first['msg']}", field=name)


def _too_large(max_bytes: int) -> PermanentError:
    return PermanentError(
        ErrorCode.FILE_TOO_LARGE,
        f"the selfie has more than {max_bytes} bytes; send a smaller one",
        limit=max_bytes,
    )


def _malformed() -> PermanentError:
    return PermanentError(
        ErrorCode.INVALID_PARAMETER, "the body is not complete, well-formed multipart/form-data", field="body"
    )
