"""The faces of an event: photos that are uploaded to it, and searches in it."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import structlog
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from facepass.embedding import read_checked_header
from facepass.schemas.errors import ErrorCode
from facepass.schemas.http.index_bodies import IndexAnswer, IndexPending
from facepass.schemas.http.legacy_bodies import EventSearchFields, EventUploadFields
from facepass.schemas.http.search_bodies import SearchAnswer, SearchParameters
from facepass.schemas.ids import PhotoId
from facepass.search_api.access import GuestDoor
from facepass.search_api.http import ConcurrencyLimit, checked_fields, documented, documented_body, read_form
from facepass.search_api.indexing import (
    PHOTO_ERRORS,
    UPLOADS_AT_ONCE,
    AskedPhoto,
    IndexResources,
    as_response,
    index_asked_photo,
    measured,
)
from facepass.search_api.legacy.event_routes import event_not_found
from facepass.search_api.searching import SEARCH_ERRORS, SearchForm, SearchResources, answer_search, search_body
from facepass.storage import Database
from facepass.storage.callers import LegacyEvent, event_by_number

_OF_NO_UPLOAD = (ErrorCode.IDEMPOTENCY_MISMATCH, ErrorCode.REQUEST_UNDER_WAY, ErrorCode.INVALID_S3_KEY)
UPLOAD_ERRORS = (ErrorCode.EVENT_NOT_FOUND, *(code for code in PHOTO_ERRORS if code not in _OF_NO_UPLOAD))


def add_upload(router: APIRouter, resources: IndexResources, writing: Callable[..., Awaitable[object]]) -> None:
    """Index a photo of an event. `writing`: the dependency of uploads and new events."""
    uploads = ConcurrencyLimit(UPLOADS_AT_ONCE, what="uploads")

    @router.post(
        "/faces/upload",
        summary="Index a photo of an event",
        response_model=IndexAnswer,
        response_description="Indexed, under a photo id of FacePass's own",
        responses={
            202: {"model": IndexPending, "description": "accepted, not indexed yet"},
            **documented(*UPLOAD_ERRORS),
        },
        dependencies=[Depends(writing)],
        openapi_extra=_form_body(EventUploadFields),
    )
    async def upload(request: Request) -> Response:
        with measured("legacy_upload") as measure, uploads.counted():
            asked = await _read_photo(request, resources)
            structlog.contextvars.bind_contextvars(session_id=asked.session_id, photo_id=asked.photo_id)
            answer = await index_asked_photo(resources, request, asked)
            measure.pending = answer.status == HTTPStatus.ACCEPTED
            return as_response(answer)


async def _read_photo(request: Request, resources: IndexResources) -> AskedPhoto:
    form = await read_form(request, max_bytes=resources.images.selfie_max_bytes)
    event = await _event(resources.store.database, checked_fields(form.fields, EventUploadFields).event_id)
    (image,) = form.images
    read_checked_header(image, resources.images.selfie_max_pixels)
    return AskedPhoto(session_id=event.session_id, photo_id=PhotoId(str(uuid4())), image=image)


def add_session_search(router: APIRouter, resources: SearchResources, door: GuestDoor) -> None:
    """Add `POST /search` by its old name."""

    @router.post(
        "/faces/search-session",
        summary="POST /search by its old name; nothing is indexed by it",
        response_model=SearchAnswer,
        response_description="The matches, best first",
        responses=documented(*SEARCH_ERRORS),
        dependencies=door.guard.before_search(),
        openapi_extra=search_body(),
    )
    async def search(request: Request) -> Response:
        return await answer_search(resources, door, request)


def add_event_search(router: APIRouter, resources: SearchResources, door: GuestDoor) -> None:
    """Add the search in an event's session."""

    async def read_event_form(request: Request, max_bytes: int) -> SearchForm:
        form = await read_form(request, max_bytes=max_bytes)
        fields = checked_fields(form.fields, EventSearchFields)
        event = await _event(resources.store.database, fields.event_id)
        parameters = SearchParameters(session_id=event.session_id, threshold=fields.threshold)
        return SearchForm(selfies=form.images, parameters=parameters)

    @router.post(
        "/faces/search",
        summary="Find the photos of the person on a selfie in an event",
        response_model=SearchAnswer,
        response_description="The matches, best first",
        responses=documented(ErrorCode.EVENT_NOT_FOUND, *SEARCH_ERRORS),
        dependencies=door.guard.before_search(),
        openapi_extra=_form_body(EventSearchFields),
    )
    async def search(request: Request) -> Response:
        return await answer_search(resources, door, request, read_event_form)


async def _event(database: Database, number: int) -> LegacyEvent:
    event = await event_by_number(database, number)
    if event is None:
        raise event_not_found()
    return event


def _form_body(model: type[BaseModel]) -> dict[str, Any]:
    """The image and the fields."""
    schema = model.model_json_schema()
    image = {"type": "string", "format": "binary", "description": "the picture: JPEG, PNG or WebP"}
    schema["properties"] = {"file": image} | schema["properties"]
    schema["required"] = ["file", *schema["required"]]
    return documented_body(form={"schema": schema})
