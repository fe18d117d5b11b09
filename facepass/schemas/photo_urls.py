"""The operator's templates for the addresses of photos, as the selfie page uses them."""

import re

_PLACE = re.compile(r"\{[^{}]*\}")
_PLACES = frozenset({"{photo_id}", "{session_id}"})

_START = re.compile(r"/(?!/)|https?://[A-Za-z0-9.\-]+(:[0-9]+)?/|https?://\[[0-9A-Fa-f:.]+\](:[0-9]+)?/")
"""A path on the API's own host, or a host, which is fixed: it goes into the page's Content-Security-Policy."""


def check_photo_url(template: str) -> str:
    """Return a template that can be filled in, or the empty one.

    Raises:
        ValueError: anything else.
    """
    if not template:
        return template
    if not _START.match(template) or re.search(r"[\s\x00-\x1f\"<>\\]", template):
        raise ValueError("give an address such as https://photos.example/{session_id}/{photo_id}.jpg")
    places = set(_PLACE.findall(template))
    if "{photo_id}" not in places or not places <= _PLACES or re.search(r"[{}]", _PLACE.sub("", template)):
        raise ValueError("it must hold {photo_id}, may hold {session_id}, and no other {name}")
    return template
