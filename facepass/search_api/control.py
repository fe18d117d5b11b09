"""The control port of a serving process: which shards it holds, what is in them, a fresh load.

An application of its own, for the operator's tools on the same machine. It listens on 127.0.0.1 alone and is never
part of the public one. It answers with counts and digests; no vector leaves.
"""

from typing import Annotated

from fastapi import FastAPI, Query
from starlette.middleware.trustedhost import TrustedHostMiddleware

from facepass import __version__
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.http.control_bodies import HeldShards, Reloaded, ShardContents
from facepass.schemas.ids import SessionId, check_id
from facepass.schemas.logs import get_logger
from facepass.search_api.http import answer_errors
from facepass.search_api.resources import Resources
from facepass.storage.shards import Shards

_log = get_logger(__name__)

CONTROL_HOST = "127.0.0.1"

_SessionQuery = Annotated[str, Query(description="the session's id")]


def create_control_app(resources: Resources) -> FastAPI:
    """Build the control application from what the public one serves."""
    app = FastAPI(title="FacePass control", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/shards")
    async def shards() -> HeldShards:
        """Every shard in memory, in no order."""
        return HeldShards(
            replica_id=resources.replica.replica_id,
            generation=resources.store.generation.number,
            shards=resources.shards.inspection.held(),
        )

    @app.get("/shards/contents")
    async def contents(session_id: _SessionQuery) -> ShardContents:
        """One shard with the digest of all its faces; 404 if it is not held, or kept changing."""
        found = await resources.shards.inspection.contents(_checked(session_id))
        if found is None:
            raise PermanentError(ErrorCode.SESSION_NOT_FOUND, "no shard of this session is at rest here")
        return found

    @app.post("/shards/reload")
    async def reload(session_id: _SessionQuery) -> Reloaded:
        """Drop the session's shard and load it anew from PostgreSQL, if it was held."""
        return await _reload(resources.shards, _checked(session_id))

    answer_errors(app)
    # A web page that the operator has open could otherwise reach this port under a name of its own.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[CONTROL_HOST, "localhost"])
    return app


def _checked(session_id: str) -> SessionId:
    return SessionId(check_id(session_id, "session_id"))


async def _reload(shards: Shards, session_id: SessionId) -> Reloaded:
    if not shards.inspection.drop(session_id):
        return Reloaded(dropped=False, loaded=False)
    _log.warning("shard_reloaded", session_id=session_id)
    try:
        await shards.prepare(session_id)
    except PermanentError as exc:
        if exc.code is not ErrorCode.SESSION_NOT_FOUND:
            raise
        return Reloaded(dropped=True, loaded=False)  # deleted meanwhile: there is nothing to load
    return Reloaded(dropped=True, loaded=True)
