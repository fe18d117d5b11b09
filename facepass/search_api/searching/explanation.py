"""The content of an explanation, made of what was found: no database, no request."""

from collections.abc import Mapping, Sequence

import numpy as np

from facepass.schemas.error_table import photo_message
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.faces import Box, Embedding, FoundFace, LeftOutFace, Quality, SelfieFaces
from facepass.schemas.http.body import BoxBody
from facepass.schemas.http.explain_bodies import (
    ExplainedFace,
    ExplainedPhoto,
    ExplainedSelfie,
    ExplainReason,
    QualityBody,
    SelfieFaceBody,
)
from facepass.schemas.http.search_bodies import WarningBody
from facepass.schemas.http.session_bodies import LeftOutFaceBody, PhotoErrorBody
from facepass.schemas.ledger import PhotoState
from facepass.schemas.similarity import cosine_from_similarity, similarity_from_cosine
from facepass.search_api.searching.search_answers import box_body, warning_body
from facepass.search_api.searching.selfies import Query
from facepass.storage.reads import PhotoRow, StoredFace


def explained_selfie(selfie: SelfieFaces, query: Query) -> ExplainedSelfie:
    """The faces found in the selfie that became `query`, and its warnings."""
    faces = [_other_face(face) for face in selfie.others]
    if selfie.largest is not None:
        largest = selfie.largest
        searched = SelfieFaceBody(
            box=_box(largest.box), confidence=largest.confidence, searched=True, quality=_quality(largest.quality)
        )
        faces.insert(0, searched)
    return ExplainedSelfie(
        width=selfie.width,
        height=selfie.height,
        faces=faces,
        warnings=[WarningBody.model_validate(warning_body(warning)) for warning in query.warnings],
    )


def explained_photo(
    row: PhotoRow, stored: Sequence[StoredFace], query: Embedding, threshold: float, operating_point: float
) -> ExplainedPhoto:
    """The photo as it is stored, each face compared with `query`."""
    least = cosine_from_similarity(threshold, operating_point)
    faces = [_face(face, query, threshold=least, operating_point=operating_point) for face in stored]
    error = row.error and PhotoErrorBody(code=row.error, message=photo_message(row.error))
    return ExplainedPhoto(
        state=row.state,
        error=error or None,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        occurred_at=row.newest_event,
        deleted_at=row.deleted_at,
        session_deleted_at=row.session_deleted_at,
        revision=row.revision,
        faces=sorted(faces, key=lambda face: -face.cosine),
        left_out=list(map(_left_out, row.left_out)),
    )


def reason_for(
    photo: ExplainedPhoto, threshold: float, refused: PermanentError | None
) -> tuple[ExplainReason, str]:
    """The reason why a search returns the photo or does not, for programs and in a sentence.

    Args:
        refused: why guests may not search the session; None if they may. That nothing is known of it is no
            reason here: then the photo was deleted.
    """
    if refused is not None and refused.code in _REFUSED:
        return _REFUSED[refused.code], refused.message
    if photo.faces:
        best = photo.faces[0]
        says = f"the most alike face of the photo has a similarity of {best.similarity:.4f}"
        if best.matches:
            return ExplainReason.MATCH, f"{says}, and {threshold:g} is enough"
        return ExplainReason.BELOW_THRESHOLD, f"{says}, below {threshold:g}"
    reason = _WITHOUT_FACES[photo.state]
    return reason, photo.error.message if photo.error else _MESSAGES[reason]


_REFUSED: Mapping[ErrorCode, ExplainReason] = {
    ErrorCode.FACEPASS_DISABLED: ExplainReason.FACEPASS_DISABLED,
    ErrorCode.SESSION_UNANNOUNCED: ExplainReason.SESSION_UNANNOUNCED,
}

_WITHOUT_FACES: Mapping[PhotoState | None, ExplainReason] = {
    None: ExplainReason.DELETED,
    PhotoState.DELETED: ExplainReason.DELETED,
    PhotoState.PENDING: ExplainReason.PENDING,
    PhotoState.FAILED: ExplainReason.FAILED,
    PhotoState.NO_FACE: ExplainReason.NO_FACE,
    PhotoState.FILTERED: ExplainReason.FILTERED,
    PhotoState.INDEXED: ExplainReason.NO_FACE,
}

_MESSAGES: Mapping[ExplainReason, str] = {
    ExplainReason.DELETED: "the photo or its session was deleted; only an event after that brings it back",
    ExplainReason.PENDING: "the photo is not indexed yet",
    ExplainReason.FAILED: "the photo could not be indexed",
    ExplainReason.NO_FACE: "no face was found on the photo",
    ExplainReason.FILTERED: "faces were found on the photo, but none good enough to search for",
}


def _face(face: StoredFace, query: Embedding, *, threshold: float, operating_point: float) -> ExplainedFace:
    """A face compared with the query in single precision, as a shard does; `threshold`: a cosine."""
    cosine = float(np.clip(face.embedding @ query, -1.0, 1.0))
    return ExplainedFace(
        box=_box(face.box),
        confidence=face.confidence,
        quality=_quality(face.quality),
        similarity=similarity_from_cosine(cosine, operating_point),
        cosine=cosine,
        matches=cosine >= threshold,
    )


def _other_face(face: FoundFace) -> SelfieFaceBody:
    return SelfieFaceBody(box=_box(face.box), confidence=face.confidence, searched=False, quality=None)


def _left_out(face: LeftOutFace) -> LeftOutFaceBody:
    return LeftOutFaceBody(reason=face.reason, confidence=face.confidence, box=_box(face.box))


def _quality(quality: Quality) -> QualityBody:
    return QualityBody(
        size=quality.size, sharpness=quality.sharpness, yaw=quality.yaw, pitch=quality.pitch, roll=quality.roll
    )


def _box(box: Box) -> BoxBody:
    return BoxBody.model_validate(box_body(box))
