"""POST /search: from a selfie to the photos of its person."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from fastapi import APIRouter, Request, Response

from facepass.embedding import FaceEngine
from facepass.schemas import metrics
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError
from facepass.schemas.faces import Embedding, SelfieFaces
from facepass.schemas.http.search_bodies import MAX_SELFIES, SearchAnswer, SearchParameters
from facepass.schemas.settings import SearchSettings
from facepass.search_api.access import GuestDoor
from facepass.search_api.http import (
    FORM_OVERHEAD_BYTES,
    ConcurrencyLimit,
    DirectRoute,
    JsonResponse,
    checked_fields,
    documented,
    lease_expired,
    read_form,
)
from facepass.search_api.searching.search_answers import search_answer
from facepass.search_api.searching.search_document import SEARCH_ERRORS, search_body
from facepass.search_api.searching.selfies import query_of
from facepass.storage import Store
from facepass.storage.shards import Replica, ShardAnswer, Shards


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResources:
    """The needs of searches and explanations.

    Attributes:
        threads: analyse selfies, so that the event loop never waits for one.
        under_way: of all routes that take selfies, together.
    """

    store: Store
    engine: FaceEngine
    shards: Shards
    replica: Replica
    settings: SearchSettings
    threads: Executor
    under_way: ConcurrencyLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchForm:
    """A complete search request: the selfies' bytes as sent, and the checked fields."""

    selfies: tuple[bytes, ...] = field(repr=False)
    parameters: SearchParameters


ReadForm = Callable[[Request, int], Awaitable[SearchForm]]
"""Reads a request's body, with at most so many bytes of a selfie, into what a search takes."""


def search_routes(resources: SearchResources, door: GuestDoor) -> APIRouter:
    """The route of searches."""
    router = APIRouter(tags=["search"], route_class=DirectRoute)

    @router.post(
        "/search",
        summary="Find the photos of the person on a selfie",
        response_model=SearchAnswer,
        response_description="The matches, best first",
        responses=documented(*SEARCH_ERRORS),
        dependencies=door.guard.before_search(),
        openapi_extra=search_body(),
    )
    async def search(request: Request) -> Response:
        return await answer_search(resources, door, request)

    return router


async def read_search_form(request: Request, max_bytes: int) -> SearchForm:
    """Read the body of `POST /search`. Raises: as `read_form` and `checked_fields`."""
    form = await read_form(request, max_bytes=max_bytes, most_images=MAX_SELFIES)
    return SearchForm(selfies=form.images, parameters=checked_fields(form.fields, SearchParameters))


async def answer_search(
    resources: SearchResources, door: GuestDoor, request: Request, read: ReadForm = read_search_form
) -> Response:
    """Answer one search.

    Args:
        read: for a route that names the session in another way than `POST /search`.

    Raises: FacePassError with one of SEARCH_ERRORS, or what `read` raises.
    """
    max_bytes = resources.settings.selfie_max_bytes
    with _measured(), resources.under_way.counted(_largest_selfies_in(request, max_bytes)):
        form = await read(request, max_bytes)
        await door.admit(request, form.parameters.session_id)
        return await _found(resources, form)


def _largest_selfies_in(request: Request, max_bytes: int) -> int:
    """The searches that this one counts as: one for every largest selfie that its body may be worth, so that the
    limit bounds the memory of uploads too."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return MAX_SELFIES if "transfer-encoding" in request.headers else 1
    return min(max(1, -(-(int(length) - FORM_OVERHEAD_BYTES) // max_bytes)), MAX_SELFIES)


async def _found(resources: SearchResources, form: SearchForm) -> Response:
    """The answer to a form whose session guests may use."""
    begun, operating_point = time.perf_counter(), resources.store.generation.spec.operating_point
    deadline = lease_deadline(resources.replica)  # noted before the shard is taken hold of, or it proves nothing
    with _stage("embed"):
        selfies = await _analyse_beside_loading(resources, form)
    query = query_of(selfies, operating_point)
    with _stage("shard"):
        photos = await _search(resources, form.parameters, query.embedding)
    poll_age = resources.replica.poll_age()
    if poll_age is None:  # it is about to leave, and then no deletion waits for it
        raise lease_expired()
    with _stage("rank"):
        body = search_answer(
            photos,
            query,
            threshold=form.parameters.threshold,
            operating_point=operating_point,
            poll_age=poll_age,
            begun=begun,
        )
    if resources.replica.expired(deadline):
        raise lease_expired()
    return JsonResponse(body)


async def _analyse_beside_loading(resources: SearchResources, form: SearchForm) -> list[SelfieFaces]:
    """Find the selfies' faces while the session's shard is loaded, if it has to be; a session that is not there
    ends both."""
    analysing = asyncio.create_task(analyse_selfies(resources, form.selfies))
    try:
        await resources.shards.prepare(form.parameters.session_id)
        return await analysing
    finally:
        analysing.cancel()


async def analyse_selfies(resources: SearchResources, selfies: Sequence[bytes]) -> list[SelfieFaces]:
    """The faces of each selfie; as many at once as there are threads.

    Raises:
        PermanentError: `too_many_pixels`, `unsupported_image`, `damaged_image`, `decoder_failed`; of several
            selfies, its details name which.
        TransientError: `overloaded`.
    """
    analyse = partial(
        resources.engine.analyse_selfie,
        max_bytes=resources.settings.selfie_max_bytes,
        max_pixels=resources.settings.selfie_max_pixels,
    )
    loop = asyncio.get_running_loop()

    async def one(number: int, selfie: bytes) -> SelfieFaces:
        try:
            return await loop.run_in_executor(resources.threads, analyse, selfie)
        except PermanentError as exc:
            if len(selfies) == 1:
                raise
            details = exc.details | {"selfie": number}
            raise PermanentError(exc.code, f"selfie {number + 1}: {exc.message}", **details) from exc

    return await asyncio.gather(*(one(number, selfie) for number, selfie in enumerate(selfies)))


async def _search(resources: SearchResources, asked: SearchParameters, query: Embedding) -> ShardAnswer:
    return await resources.shards.search(
        asked.session_id,
        query,
        threshold=asked.threshold,
        limit=asked.limit,
        min_revision=asked.min_revision,
        wait=asked.wait_ms / 1000,
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
    code = "ok"
    try:
        yield
    except FacePassError as exc:
        code = str(exc.code)
        raise
    except BaseException:
        code = str(ErrorCode.INTERNAL)
        raise
    finally:
        metrics.search_requests_total.labels(code).inc()
        metrics.search_duration_seconds.observe(time.perf_counter() - begun)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    with metrics.search_stage_duration_seconds.labels(name).time():
        yield
