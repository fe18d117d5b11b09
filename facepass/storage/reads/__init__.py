"""What the tables say of sessions, photos and faces, and whether they agree. Only reads; writes nothing."""

from facepass.storage.reads.explanations import PhotoRecord, StoredFace, read_photo_record
from facepass.storage.reads.session_lookup import ListedPhoto, Session, list_photos, look_up_session
from facepass.storage.reads.session_reports import (
    SessionFacts,
    UnfinishedPhoto,
    read_photo,
    read_session,
    read_unfinished,
)
from facepass.storage.reads.verification import (
    Unaccounted,
    compare_tables,
    count_sessions,
    find_strays,
    list_sessions,
    place,
    read_contents,
    unaccounted_photos,
    unfenced_deletions,
)

__all__ = [
    "ListedPhoto",
    "PhotoRecord",
    "Session",
    "SessionFacts",
    "StoredFace",
    "Unaccounted",
    "UnfinishedPhoto",
    "compare_tables",
    "count_sessions",
    "find_strays",
    "list_photos",
    "list_sessions",
    "look_up_session",
    "place",
    "read_contents",
    "read_photo",
    "read_photo_record",
    "read_session",
    "read_unfinished",
    "unaccounted_photos",
    "unfenced_deletions",
]
