"""Bodies are read in one place, after the guards of the route."""

from support.routes import all_routes
from support.search_stack import open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.settings import DatabaseSettings


async def test_no_route_has_fastapi_read_its_body(database_settings: DatabaseSettings, engine: FaceEngine) -> None:
    """It would read it before any guard has run, and unknown to what ends refused uploads."""
    async with open_search_stack(database_settings, engine) as stack:
        found = list(all_routes(stack.app.routes))
        assert len(found) > 20
        assert [route.path for route in found if route.body_field is not None] == []
