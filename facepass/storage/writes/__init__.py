"""The write doors: everything that changes photos, faces, fences and counters, each in one transaction.

Every door first locks the rows of its sessions (`lock_sessions`), so that a session's revisions commit in order
and its counters stay exact. Call them only when fetch and inference are done: the lock is held to the commit.
What only reads is elsewhere, but for `triage_photos`, which answers for `save_photos` before the work.
"""

from facepass.storage.writes.announcements import update_session
from facepass.storage.writes.deletions import Deletion, delete_photo, delete_session, forget_receipts
from facepass.storage.writes.photo_rules import Written
from facepass.storage.writes.photos import register_photos, save_photos, triage_photos
from facepass.storage.writes.unfinished_photos import claim_overdue, note_dead_letters, owed_dead_letters

__all__ = [
    "Deletion",
    "Written",
    "claim_overdue",
    "delete_photo",
    "delete_session",
    "forget_receipts",
    "note_dead_letters",
    "owed_dead_letters",
    "register_photos",
    "save_photos",
    "triage_photos",
    "update_session",
]
