"""The routes that index and delete. All need a key with scope index, and count against its limit."""

from fastapi import APIRouter

from facepass.search_api.access import Guard
from facepass.search_api.indexing.batch_call import add_batch_call
from facepass.search_api.indexing.deletion_calls import add_photo_deletion, add_session_deletion
from facepass.search_api.indexing.index_resources import IndexResources
from facepass.search_api.indexing.photo_call import add_photo_call


def index_routes(resources: IndexResources, guard: Guard) -> APIRouter:
    """The routes that index and delete."""
    router = APIRouter(tags=["index"])
    add_photo_call(router, resources, guard)
    add_batch_call(router, resources, guard)
    add_photo_deletion(router, resources, guard)
    add_session_deletion(router, resources, guard)
    return router
