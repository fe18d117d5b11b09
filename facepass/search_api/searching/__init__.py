"""The way from selfies to matches, and why a photo is or is not one. Keeps nothing of a selfie."""

from facepass.search_api.searching.explain import explain_routes
from facepass.search_api.searching.search import SearchForm, SearchResources, answer_search, search_routes
from facepass.search_api.searching.search_document import SEARCH_ERRORS, search_body

__all__ = [
    "SEARCH_ERRORS",
    "SearchForm",
    "SearchResources",
    "answer_search",
    "explain_routes",
    "search_body",
    "search_routes",
]
