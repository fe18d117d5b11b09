"""The tables' word on sessions, photos, faces and deletions, and whether they agree. Writes nothing."""

from facepass.storage.reads.differences import Compared, Difference
from facepass.storage.reads.face_rows import StoredFace, read_photo_with_faces
from facepass.storage.reads.photo_rows import PhotoRow, list_photos, read_photos, read_unfinished
from facepass.storage.reads.receipt_rows import ReceiptRow, read_newest_event, read_receipt
from facepass.storage.reads.session_rows import (
    SessionRow,
    is_session_known,
    read_counts,
    read_ledgers,
    read_session,
)
from facepass.storage.reads.verification import (
    Unaccounted,
    compare_tables,
    count_sessions,
    digest_text,
    find_strays,
    list_sessions,
    place,
    read_contents,
    unaccounted_photos,
    unfenced_deletions,
)

__all__ = [
    "Compared",
    "Difference",
    "PhotoRow",
    "ReceiptRow",
    "SessionRow",
    "StoredFace",
    "Unaccounted",
    "compare_tables",
    "count_sessions",
    "digest_text",
    "find_strays",
    "is_session_known",
    "list_photos",
    "list_sessions",
    "place",
    "read_contents",
    "read_counts",
    "read_ledgers",
    "read_newest_event",
    "read_photo_with_faces",
    "read_photos",
    "read_receipt",
    "read_session",
    "read_unfinished",
    "unaccounted_photos",
    "unfenced_deletions",
]
