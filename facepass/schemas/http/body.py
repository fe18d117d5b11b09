"""The common part of the HTTP API's bodies: their two kinds, fields that many have, the one shape of errors."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from facepass.schemas.errors import ErrorCode
from facepass.schemas.ids import MAX_ID_CHARACTERS


class AnswerModel(BaseModel):
    """The base of all answers. It forbids what is not declared: nothing else of Pixora's or of ours leaves."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class RequestModel(BaseModel):
    """The base of all requests. It ignores fields that it does not know, and never repeats what was sent."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


Count = Annotated[int, Field(ge=0)]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]
"""An id in an answer: it comes from the database, where only valid ones are."""


class ErrorBody(AnswerModel):
    """Every answer with a status of 400 or more (but `/health` and `/ready`, whose bodies say what is wrong)."""

    code: ErrorCode = Field(description="for programs")
    message: str = Field(description="for people: what went wrong and what to do")
    details: dict[str, str | int | float | None] = Field(
        description="values that belong to the message; may be empty"
    )


class BoxBody(AnswerModel):
    """A rectangle in pixels of the photo at its full size, turned upright; may reach over the photo's edge."""

    x: float
    y: float
    width: float
    height: float
