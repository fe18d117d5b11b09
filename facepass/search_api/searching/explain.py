"""POST /sessions/{session_id}/explain: why a selfie finds a photo or does not, by what PostgreSQL has."""

import structlog
from fastapi import APIRouter, Depends, Request, Response

from facepass.schemas.callers import Scope
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.faces import SelfieFaces
from facepass.schemas.http.explain_bodies import ExplainedPhoto, ExplainParameters, ExplainReason, Explanation
from facepass.schemas.ids import SessionId
from facepass.schemas.similarity import cosine_from_similarity
from facepass.search_api.access import GuestDoor
from facepass.search_api.http import SessionInPath, checked_fields, documented, json_answer, read_form
from facepass.search_api.searching.explanation import explained_photo, explained_selfie, reason_for
from facepass.search_api.searching.search import SearchResources, analyse_selfies
from facepass.search_api.searching.search_document import EXPLAIN_ERRORS, explain_body
from facepass.search_api.searching.selfies import Query, query_of
from facepass.storage import Store
from facepass.storage.reads import PhotoRow, StoredFace, read_counts, read_photo_with_faces


def explain_routes(resources: SearchResources, door: GuestDoor) -> APIRouter:
    """The route that explains. It reads the rows themselves, and so says what is true now; a shard may lag."""
    router = APIRouter(tags=["sessions"])

    @router.post(
        "/sessions/{session_id:segment}/explain",
        summary="Why a selfie finds a photo, or does not",
        response_model=Explanation,
        response_description="What was found on both, and how alike it is",
        responses=documented(*EXPLAIN_ERRORS),
        dependencies=[Depends(door.guard.key(Scope.READ))],
        openapi_extra=explain_body(),
    )
    async def explain(request: Request, session_id: SessionInPath) -> Response:
        structlog.contextvars.bind_contextvars(session_id=session_id)
        with resources.under_way.counted():
            form = await read_form(request, max_bytes=resources.settings.selfie_max_bytes)
            asked = checked_fields(form.fields, ExplainParameters)
            row, faces = await _stored(resources.store, session_id, asked)
            selfies = await analyse_selfies(resources, form.images)
        operating_point = resources.store.generation.spec.operating_point
        query = query_of(selfies, operating_point)
        refused = door.refusal_by(await read_counts(resources.store, session_id))
        explanation = _explanation(
            session_id,
            asked,
            explained_photo(row, faces, query.embedding, asked.threshold, operating_point),
            selfie=selfies[0],
            query=query,
            refused=refused,
            operating_point=operating_point,
        )
        return json_answer(explanation)

    return router


async def _stored(
    store: Store, session_id: SessionId, asked: ExplainParameters
) -> tuple[PhotoRow, list[StoredFace]]:
    row, faces = await read_photo_with_faces(store, session_id, asked.photo_id)
    if not row.session_known:
        raise PermanentError(ErrorCode.SESSION_NOT_FOUND, "nothing was ever heard of this session")
    if not row.known:
        raise PermanentError(ErrorCode.PHOTO_UNKNOWN, "nothing was ever heard of this photo in this session")
    return row, faces


def _explanation(
    session_id: SessionId,
    asked: ExplainParameters,
    photo: ExplainedPhoto,
    *,
    selfie: SelfieFaces,
    query: Query,
    refused: PermanentError | None,
    operating_point: float,
) -> Explanation:
    """The explanation's body; `refused`: why guests may not search the session, None if they may."""
    reason, message = reason_for(photo, asked.threshold, refused)
    return Explanation(
        session_id=session_id,
        photo_id=asked.photo_id,
        matched=reason is ExplainReason.MATCH,
        reason=reason,
        message=message,
        threshold=asked.threshold,
        least_cosine=cosine_from_similarity(asked.threshold, operating_point),
        selfie=explained_selfie(selfie, query),
        photo=photo,
    )
