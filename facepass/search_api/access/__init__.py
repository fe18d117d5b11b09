"""The rules of who may call what, and how often: keys, guests' tokens, limits, and which sessions guests may use.

Reads no body and answers nothing itself.
"""

from facepass.search_api.access.guard import GUEST_ERRORS, KEY_ERRORS, LIMIT_ERRORS, Guard
from facepass.search_api.access.guest_door import ADMISSION_ERRORS, GuestDoor
from facepass.search_api.access.response_headers import SecurityHeaders, add_cors
from facepass.search_api.access.session_tokens import make_token

__all__ = [
    "ADMISSION_ERRORS",
    "GUEST_ERRORS",
    "KEY_ERRORS",
    "LIMIT_ERRORS",
    "Guard",
    "GuestDoor",
    "SecurityHeaders",
    "add_cors",
    "make_token",
]
