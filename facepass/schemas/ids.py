"""Ids of photos and sessions, and the one place that says which are valid."""

from typing import Annotated, NewType

from pydantic import BeforeValidator, Field, StrictStr, TypeAdapter, ValidationError, WithJsonSchema

from facepass.schemas.errors import ErrorCode, PermanentError

MAX_ID_CHARACTERS = 255
"""Pixora's own columns hold 255 characters."""

SessionId = NewType("SessionId", str)
PhotoId = NewType("PhotoId", str)


def _canonical(value: object) -> object:
    """Pixora's tables use integers and strings for the same ids: an integer means its decimal string."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise ValueError("must be valid Unicode (it holds half of a surrogate pair)") from exc
    return value


def check_id(value: object, field: str) -> str:
    """Return the canonical id: 1 to 255 characters, any Unicode without NUL.

    Raises:
        PermanentError: `invalid_id`, naming `field` but not repeating a hostile value.
    """
    try:
        return _ID.validate_python(value)
    except ValidationError as exc:
        reason = exc.errors(include_url=False, include_input=False)[0]["msg"]
        raise PermanentError(ErrorCode.INVALID_ID, f"{field}: {reason}", field=field) from exc


IdText = Annotated[
    StrictStr,
    Field(min_length=1, max_length=MAX_ID_CHARACTERS),
    BeforeValidator(lambda value: _storable(value) if isinstance(value, str) else _canonical(value)),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARACTERS}),
]
"""An id inside a pydantic model: a string of 1 to 255 characters without NUL; an integer becomes a string."""

_ID: TypeAdapter[str] = TypeAdapter(IdText)
