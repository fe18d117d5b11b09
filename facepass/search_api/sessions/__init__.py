"""The routes about one session: its status, whether guests may use it, its photos. Only reads."""

from facepass.search_api.sessions.routes import session_routes

__all__ = [
    "session_routes",
]
