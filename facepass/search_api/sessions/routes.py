"""The routes about one session: its status, whether guests may use it, and its photos."""

from fastapi import APIRouter

from facepass.search_api.access import GuestDoor
from facepass.search_api.sessions.photo_list import add_photo_list
from facepass.search_api.sessions.session_info import add_facepass_status, add_info, add_status, add_validation
from facepass.storage import Store


def session_routes(store: Store, door: GuestDoor) -> APIRouter:
    """The routes about one session. All but the list of photos are the guests' too.

    A session whose id is `validate` has a name that the routes need themselves: what begins with
    `/sessions/validate/` validates.
    """
    router = APIRouter(tags=["sessions"])
    add_validation(router, door)
    add_facepass_status(router, door)
    add_info(router, door)
    add_photo_list(router, store, door.guard)
    add_status(router, store, door)
    return router
