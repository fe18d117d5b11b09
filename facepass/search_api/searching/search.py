"""POST /search: from a selfie to the photos of its person."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from facepass.schemas import metrics
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError
from facepass.schemas.faces import Embedding, SelfieFaces
from facepass.schemas.http.search_bodies import MAX_SELFIES, SearchAnswer, SearchParameters
from facepass.search_api.access import ADMISSION_ERRORS, GUEST_ERRORS, LIMIT_ERRORS, Guard, admit_session
from facepass.search_api.http import (
    FORM_OVERHEAD_BYTES,
    ConcurrencyLimit,
    checked_fields,
    documented,
    lease_expired,
    read_form,
)
from facepass.search_api.parts import Parts
from facepass.search_api.searching.search_answers import search_answer
from facepass.search_api.searching.selfies import query_of
from facepass.storage.shards import Replica, ShardAnswer

SELFIE_ERRORS = (
    ErrorCode.NO_FACE,
    ErrorCode.UPLOAD_TIMEOUT,
    ErrorCode.FILE_TOO_LARGE,
    ErrorCode.TOO_MANY_PIXELS,
    ErrorCode.UNSUPPORTED_IMAGE,
    ErrorCode.DAMAGED_IMAGE,
    ErrorCode.DECODER_FAILED,
    ErrorCode.INVALID_ID,
    ErrorCode.INVALID_PARAMETER,
)
"""What every route that takes a selfie may answer."""

SEARCH_ERRORS = (
    *SELFIE_ERRORS,
    *GUEST_ERRORS,
    *LIMIT_ERRORS,
    *ADMISSION_ERRORS,
    ErrorCode.INTERNAL,
    ErrorCode.DATABASE_UNAVAILABLE,
    ErrorCode.LEASE_EXPIRED,
    ErrorCode.MEMORY_BUDGET,
    ErrorCode.OVERLOADED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchForm:
    """A complete search request: the selfies' bytes as sent, and the checked fields."""

    selfies: tuple[bytes, ...] = field(repr=False)
    parameters: SearchParameters


ReadForm = Callable[[Request, int], Awaitable[SearchForm]]
"""Reads a request's body, with at most so many bytes of a selfie, into what a search takes."""


def search_routes(parts: Parts, guard: Guard, threads: Executor, slots: ConcurrencyLimit) -> APIRouter:
    """The route of searches."""
    router = APIRouter(tags=["search"], route_class=_Direct)
    router.add_api_route(
        "/search",
        search_endpoint(parts, guard, threads, slots),
        methods=["POST"],
        summary="Find the photos of the person on a selfie",
        response_model=SearchAnswer,
        response_description="The matches, best first",
        responses=documented(*SEARCH_ERRORS),
        dependencies=[Depends(guard.limit_search()), Depends(guard.guest())],
        openapi_extra=request_body(),
    )
    return router


class _Direct(APIRoute):
    """Calls its guards and its function with the request, without FastAPI's machinery for what these do not use:
    it takes longer than they do. The guards are those of the route and its router: what the application, or an
    inclusion of the router, depends on beside them is not called."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        for depends in self.dependencies:
            if depends.dependency is not None:
                await depends.dependency(request)
        response: Response = await self.endpoint(request)
        await response(scope, receive, send)


async def read_search_form(request: Request, max_bytes: int) -> SearchForm:
    """Read the body of `POST /search`. Raises: as `read_form` and `checked_fields`."""
    form = await read_form(request, max_bytes=max_bytes, most_images=MAX_SELFIES)
    return SearchForm(selfies=form.images, parameters=checked_fields(form.fields, SearchParameters))


def search_endpoint(
    parts: Parts, guard: Guard, threads: Executor, slots: ConcurrencyLimit, read: ReadForm = read_search_form
) -> Callable[[Request], Awaitable[Response]]:
    """The route's function.

    Args:
        threads: analyse selfies, so that the event loop never waits for one.
        slots: of all routes that search, together.
        read: for a route that names the session in another way than `POST /search`.
    """

    async def search(request: Request) -> Response:
        with _measured(), slots.taken(_slots_for(request, parts.settings.selfie_max_bytes)):
            form = await read(request, parts.settings.selfie_max_bytes)
            structlog.contextvars.bind_contextvars(session_id=form.parameters.session_id)
            await guard.check_guest(request, form.parameters.session_id)
            await admit_session(parts, form.parameters.session_id)
            return await _answer(parts, threads, form)

    return search


def _slots_for(request: Request, max_bytes: int) -> int:
    """One for every largest selfie that the body may be worth, so that slots bound the memory of uploads too."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return MAX_SELFIES if "transfer-encoding" in request.headers else 1
    return min(max(1, -(-(int(length) - FORM_OVERHEAD_BYTES) // max_bytes)), MAX_SELFIES)


async def _answer(parts: Parts, threads: Executor, form: SearchForm) -> Response:
    begun = time.perf_counter()
    deadline = lease_deadline(parts.replica)  # noted before the shard is taken hold of, or it proves nothing
    with _stage("embed"):
        selfies = await _analyse_beside_loading(parts, threads, form)
    query = query_of(selfies, parts.store.generation.spec.operating_point)
    with _stage("shard"):
        photos = await _search(parts, form.parameters, query.embedding)
    poll_age = parts.replica.poll_age()
    if poll_age is None:  # it is about to leave, and then no deletion waits for it
        raise lease_expired()
    with _stage("rank"):
        body = search_answer(
            photos,
            query,
            threshold=form.parameters.threshold,
            operating_point=parts.store.generation.spec.operating_point,
            poll_age=poll_age,
            begun=begun,
        )
    if parts.replica.expired(deadline):
        raise lease_expired()
    return Response(body, media_type="application/json")


async def _analyse_beside_loading(parts: Parts, threads: Executor, form: SearchForm) -> list[SelfieFaces]:
    """Find the selfies' faces while the session's shard is loaded, if it has to be; a session that is not there
    ends both."""
    analysing = asyncio.create_task(analyse_selfies(parts, threads, form.selfies))
    try:
        await parts.shards.prepare(form.parameters.session_id)
        return await analysing
    finally:
        analysing.cancel()


async def analyse_selfies(parts: Parts, threads: Executor, selfies: Sequence[bytes]) -> list[SelfieFaces]:
    """The faces of each selfie; as many at once as there are threads.

    Raises:
        PermanentError: `too_many_pixels`, `unsupported_image`, `damaged_image`, `decoder_failed`; of several
            selfies, its details name which.
        TransientError: `overloaded`.
    """
    analyse = partial(
        parts.engine.analyse_selfie,
        max_bytes=parts.settings.selfie_max_bytes,
        max_pixels=parts.settings.selfie_max_pixels,
    )
    loop = asyncio.get_running_loop()

    async def one(number: int, selfie: bytes) -> SelfieFaces:
        try:
            return await loop.run_in_executor(threads, analyse, selfie)
        except PermanentError as exc:
            if len(selfies) == 1:
                raise
            details = exc.details | {"selfie": number}
            raise PermanentError(exc.code, f"selfie {number + 1}: {exc.message}", **details) from exc

    return await asyncio.gather(*(one(number, selfie) for number, selfie in enumerate(selfies)))


async def _search(parts: Parts, wanted: SearchParameters, query: Embedding) -> ShardAnswer:
    return await parts.shards.search(
        wanted.session_id,
        query,
        threshold=wanted.threshold,
        limit=wanted.limit,
        min_revision=wanted.min_revision,
        wait=wanted.wait_ms / 1000,
    )


def lease_deadline(replica: Replica) -> float:
    """Deadline of the lease in force, on the replica's clock.

    Raises:
        TransientError: `lease_expired`: there is none.
    """
    deadline = replica.deadline()
    if deadline is None or replica.expired(deadline):
        raise lease_expired()
    return deadline


@contextmanager
def _measured() -> Iterator[None]:
    begun = time.perf_counter()
    outcome = "ok"
    try:
        yield
    except FacePassError as exc:
        outcome = str(exc.code)
        raise
    except BaseException:
        outcome = str(ErrorCode.INTERNAL)
        raise
    finally:
        metrics.search_requests_total.labels(outcome).inc()
        metrics.search_duration_seconds.observe(time.perf_counter() - begun)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    with metrics.search_stage_duration_seconds.labels(name).time():
        yield


def request_body() -> dict[str, Any]:
    """The OpenAPI description of the form, which FastAPI cannot know: we read it ourselves."""
    schema = SearchParameters.model_json_schema()
    schema["properties"] = selfie_fields(MAX_SELFIES) | schema["properties"]
    schema["anyOf"] = [{"required": ["file"]}, {"required": ["image"]}]
    example = {
        "file": ["(the bytes of selfie.jpg)"],
        "session_id": "wedding-2026-05-09",
        "threshold": 0.7,
        "limit": 100,
    }
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": schema, "example": example}},
        }
    }


def selfie_fields(most: int) -> dict[str, Any]:
    """The fields of a form that takes selfies under two names, `most` in all."""
    binary = {"type": "string", "format": "binary"}
    selfies = {"type": "array", "items": binary, "minItems": 1, "maxItems": most}
    described = "JPEG, PNG or WebP" + (f"; repeated for up to {most} selfies of one person" if most > 1 else "")
    return {
        "file": selfies | {"description": f"the selfie: {described}"},
        "image": selfies | {"description": "the same as `file`"},
    }
