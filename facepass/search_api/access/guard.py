"""The guard of the routes: keys, guests' tokens, limits.

    guard = Guard(parts)                       # one an application
    Depends(guard.key(Scope.READ))             # 401 or 403; gives the Caller
    Depends(guard.limit_index())               # a key with scope index, and its limit: also 429; gives the Caller
    Depends(guard.limit_search())              # 429, by the client's address
    await guard.check_guest(request, session)  # 401 if sessions are tied to tokens, and this is none of this one's

FastAPI reads and parses a declared body before any dependency runs. So a route that needs a key takes `Request`
and reads its body itself: otherwise a caller without a key makes the process read it and is told about it.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request, Security
from fastapi.security import APIKeyHeader

from facepass.schemas.access import Caller, Scope
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.ids import SessionId
from facepass.search_api.parts import Parts

KEY_ERRORS = (ErrorCode.KEY_REQUIRED, ErrorCode.SCOPE_REQUIRED, ErrorCode.DATABASE_UNAVAILABLE)
"""What `key` may raise, for `documented`."""

LIMIT_ERRORS = (ErrorCode.RATE_LIMITED,)
"""What the limits may raise; `limit_index` also raises KEY_ERRORS."""

GUEST_ERRORS = (ErrorCode.TOKEN_REQUIRED, ErrorCode.TOKEN_EXPIRED)
"""What `check_guest` may raise."""

_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="made by `facepass keys create`")


class Guard:
    """Checks keys, tokens and limits. One an application, because it counts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def key(self, scope: Scope) -> Callable[..., Awaitable[Caller]]:
        """A dependency that gives the caller, if its key has the scope."""

        async def keyed(presented: str | None = Security(_HEADER)) -> Caller:
            configured = self._parts.access.api_keys.get_secret_value().split(",")
            if not presented or presented not in configured:
                raise PermanentError(ErrorCode.KEY_REQUIRED, "send a valid API key in the header X-API-Key")
            return Caller(key_id="settings-1", name="FACEPASS_API_KEYS", scopes=frozenset({scope}))

        return keyed

    def limit_index(self) -> Callable[..., Awaitable[Caller]]:
        """A dependency: a key with scope index, and one more call of that key."""
        return self.key(Scope.INDEX)

    def limit_search(self) -> Callable[..., Awaitable[None]]:
        """A dependency: one more search of the client's address."""

        async def limited(request: Request) -> None:
            del request

        return limited

    async def check_guest(self, request: Request, session_id: SessionId) -> None:
        """Let a guest of the session pass, or anyone where sessions are not tied to tokens."""
