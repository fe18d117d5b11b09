"""From selfies to matches, and why a photo is or is not one. Keeps nothing of a selfie."""

from facepass.search_api.searching.explain import explain_routes
from facepass.search_api.searching.search import (
    SEARCH_ERRORS,
    SearchForm,
    request_body,
    search_endpoint,
    search_routes,
)

__all__ = [
    "SEARCH_ERRORS",
    "SearchForm",
    "explain_routes",
    "request_body",
    "search_endpoint",
    "search_routes",
]
