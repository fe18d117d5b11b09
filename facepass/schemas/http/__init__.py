"""The bodies of the HTTP API, a file an area. Answers forbid what is not declared: nothing else ever leaves."""

__all__ = [
    "body",
    "control_bodies",
    "explain_bodies",
    "index_bodies",
    "legacy_bodies",
    "probe_bodies",
    "search_bodies",
    "session_bodies",
]
