"""The first generation's routes, for clients that still call them. Thin, and on their way out.

An event is a session whose id is the event's UUID: `POST /events/` announces that session as Pixora announces
its own, an upload is the upload of any other photo, and both searches are `POST /search`. To take the routes out,
delete this room, `schemas/http/legacy_bodies.py`, `storage/callers/legacy_events.py` with its statements, the
tests, and the line of `app.py` that names it; a migration then drops the table and its trigger.
"""

from facepass.search_api.legacy.routes import legacy_routes

__all__ = [
    "legacy_routes",
]
