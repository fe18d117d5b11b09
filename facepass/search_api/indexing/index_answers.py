"""The way from results to answers: what each means for a caller, in one photo and in a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facepass.schemas.error_table import photo_message
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.http.index_bodies import BatchAnswer, BatchError, BatchProgress, IndexAnswer
from facepass.schemas.ids import PhotoId
from facepass.schemas.ledger import UpdateStatus
from facepass.use_cases import PhotoResult

_NO_FACE = (UpdateStatus.NO_FACE, UpdateStatus.FILTERED)


def index_answer(photo_id: PhotoId, result: PhotoResult) -> IndexAnswer:
    """The answer for one photo that is indexed.

    Raises:
        FacePassError: why it is not.
    """
    if result.status is not UpdateStatus.INDEXED:
        raise _refusal(photo_id, result)
    return IndexAnswer(
        indexed=True,
        photo_id=photo_id,
        confidence=result.confidence or 0.0,
        faces_detected=result.faces_detected,
        revision=result.revision,
    )


def _refusal(photo_id: PhotoId, result: PhotoResult) -> FacePassError:
    code = _code(result)
    kind = TransientError if code is ErrorCode.STORE_UNAVAILABLE else PermanentError
    return kind(
        code,
        photo_message(code),
        photo_id=photo_id,
        faces_detected=result.faces_detected,
        revision=result.revision,
    )


def _code(result: PhotoResult) -> ErrorCode:
    if result.status in _NO_FACE:
        return ErrorCode(result.status)
    return result.code or ErrorCode.INTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as far as it is known at one moment.

    Attributes:
        photos: in the order sent; one may be there twice, and counts twice.
        refused: photos whose key is none.
        results: so far.
    """

    photos: Sequence[PhotoId]
    refused: Mapping[PhotoId, FacePassError]
    results: Mapping[PhotoId, PhotoResult]

    def progress(self) -> BatchProgress:
        """The counts so far."""
        counts = dict.fromkeys(BatchProgress.model_fields, 0)
        for photo_id in self.photos:
            counts[self._kind(photo_id)] += 1
        return BatchProgress(**counts)

    def answer(self) -> BatchAnswer:
        """The final answer: what is still pending counts as failed."""
        counts = self.progress()
        revisions = [result.revision for result in self.results.values()]
        failed = [photo for photo in self.photos if self._kind(photo) in {"failed", "pending"}]
        return BatchAnswer(
            indexed=counts.indexed,
            failed=counts.failed + counts.pending,
            errors=[self._error(photo_id) for photo_id in failed],
            no_face=counts.no_face,
            pending=counts.pending,
            revision=max(revisions, default=0),
        )

    def _kind(self, photo_id: PhotoId) -> str:
        result = self.results.get(photo_id)
        if photo_id in self.refused:
            return "failed"
        if result is None:
            return "pending"
        if result.status is UpdateStatus.INDEXED:
            return "indexed"
        return "no_face" if result.status in _NO_FACE else "failed"

    def _error(self, photo_id: PhotoId) -> BatchError:
        if refusal := self.refused.get(photo_id):
            return BatchError(photo_id=photo_id, code=refusal.code, message=refusal.message)
        result = self.results.get(photo_id)
        code = ErrorCode.PENDING if result is None else _code(result)
        return BatchError(photo_id=photo_id, code=code, message=photo_message(code))
