"""Ids of photos and sessions, and the one place that says which are valid; and which keys are FacePass's own."""

from typing import Annotated, NewType

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from facepass.schemas.errors import ErrorCode, invalid_input

MAX_ID_CHARACTERS = 255
"""Pixora's own columns hold 255 characters."""

UPLOADS_PREFIX = "facepass-uploads/"
"""Keys of photos that came by HTTP begin with this, and no others do."""

SessionId = NewType("SessionId", str)
PhotoId = NewType("PhotoId", str)


def _canonical(value: object) -> object:
    """Pixora's tables use integers and strings for the same ids: an integer means its decimal string."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def storable_text(value: str) -> str:
    """The `value`; raises ValueError unless PostgreSQL can store it as text."""
    if "\x00" in value:
        raise ValueError("must not contain a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must be valid Unicode (it holds half of a surrogate pair)")
    return value


def check_id(value: object, field: str) -> str:
    """The canonical id: 1 to 255 characters, any Unicode without NUL.

    Raises:
        PermanentError: `invalid_id`, naming `field` but not repeating a hostile value.
    """
    try:
        return _ID.validate_python(value)
    except ValidationError as exc:
        raise invalid_input(exc, code=ErrorCode.INVALID_ID, place=lambda _: field) from exc


_RULES = (
    Strict(),
    Field(min_length=1, max_length=MAX_ID_CHARACTERS),
    AfterValidator(storable_text),
    BeforeValidator(_canonical),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARACTERS}, {"type": "integer"}]}
    ),
)

SessionIdField = Annotated[SessionId, *_RULES]
PhotoIdField = Annotated[PhotoId, *_RULES]
"""An id inside a pydantic model: a string of 1 to 255 characters without NUL; an integer becomes a string."""

_ID: TypeAdapter[str] = TypeAdapter(Annotated[str, *_RULES], config=ConfigDict(hide_input_in_errors=True))
