"""The guard of the routes: keys, guests' tokens, limits.

    guard = Guard(settings, database)          # one an application
    Depends(guard.key(Scope.READ))             # 401 or 403; gives the Caller
    Depends(guard.limit_index())               # a key with scope index, and its limit: also 429; gives the Caller
    Depends(guard.limit_search())              # 429, by the client's address
    guard.before_search()                      # that, and 401 for a caller without any token or key
    Depends(guard.guest())                     # 401 for a caller without any token or key, before a body is read

What comes then of a guest goes by `guest_door.GuestDoor`.

FastAPI reads and parses a declared body before any dependency runs. So a route that needs a key takes `Request`
and reads its body itself: otherwise a caller without a key makes the process read it and is told about it.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security, params
from fastapi.security import APIKeyHeader, HTTPBearer

from facepass.schemas.callers import Caller, Scope
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.ids import SessionId
from facepass.schemas.settings import AccessSettings
from facepass.search_api.access.addresses import client_address, counted_as, read_proxies
from facepass.search_api.access.key_ring import KeyRing
from facepass.search_api.access.rate_limits import Limit, Limits
from facepass.search_api.access.refusals import note_refusal
from facepass.search_api.access.response_headers import STANDING
from facepass.search_api.access.session_tokens import SessionTokens, invalid_token
from facepass.search_api.http import RETRY_AFTER_DETAIL
from facepass.storage import Database

KEY_ERRORS = (ErrorCode.KEY_REQUIRED, ErrorCode.SCOPE_REQUIRED, ErrorCode.DATABASE_UNAVAILABLE)
"""What `key` may raise, for `documented`."""

LIMIT_ERRORS = (ErrorCode.RATE_LIMITED,)
"""What the limits may raise; `limit_index` also raises KEY_ERRORS."""

GUEST_ERRORS = (ErrorCode.TOKEN_REQUIRED, ErrorCode.TOKEN_EXPIRED, *KEY_ERRORS)
"""What `guest` and `check_guest` may raise."""

_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="made by `facepass keys create`")
_TOKEN = HTTPBearer(auto_error=False, bearerFormat="JWT", description="from the link of `facepass sessions link`")


class Guard:
    """The checks of keys, tokens and limits. One an application, because it counts.

    Attributes:
        tokens_required: whether sessions are tied to tokens.
    """

    def __init__(self, settings: AccessSettings, database: Database) -> None:
        """Read the settings; nothing is connected yet.

        Raises:
            PermanentError: `invalid_setting`.
        """
        self.tokens_required = settings.session_tokens == "required"
        self._proxies = read_proxies(settings.trusted_proxies)
        self._keys = KeyRing(database, settings.api_keys.get_secret_value())
        self._tokens = SessionTokens(database)
        self._limits = Limits(settings)
        # One function a scope: FastAPI then runs it once a request, whoever else depends on it.
        self._by_scope = {scope: self._keyed(scope) for scope in Scope}

    def key(self, scope: Scope) -> Callable[..., Awaitable[Caller]]:
        """A dependency that gives the caller, if its key has the scope."""
        return self._by_scope[scope]

    def limit_index(self) -> Callable[..., Awaitable[Caller]]:
        """A dependency that gives the caller, if its key has scope index, and counts one more call of that key."""

        async def limited(request: Request, caller: Annotated[Caller, Depends(self.key(Scope.INDEX))]) -> Caller:
            await self._count(request, Limit.INDEX, caller.key_id)
            return caller

        return limited

    def limit_search(self) -> Callable[..., Awaitable[None]]:
        """A dependency that counts one more search of the client's address."""

        async def limited(request: Request) -> None:
            await self._count(request, Limit.SEARCH, self._address(request))

        return limited

    def guest(self) -> Callable[..., Awaitable[None]]:
        """A dependency of routes that let guests in. Where tokens are required it declares them in the OpenAPI
        document, and refuses who brings neither a valid token of any session nor a key with scope read."""

        async def anyone(_request: Request) -> None: ...

        async def known(
            request: Request, _token: object = Security(_TOKEN), _key: object = Security(_KEY)
        ) -> None:
            await self.check_guest(request, None)

        return known if self.tokens_required else anyone

    def before_search(self) -> list[params.Depends]:
        """The dependencies of a route that searches: what is decided before it reads the session's id."""
        return [Depends(self.limit_search()), *([Depends(self.guest())] if self.tokens_required else [])]

    async def check_guest(self, request: Request, session_id: SessionId | None) -> None:
        """Let a guest of the session pass, or a key with scope read; None: a guest of any session.

        Raises:
            PermanentError: `token_required`, `token_expired`, `key_required`, `scope_required`.
            TransientError: `database_unavailable`.
        """
        token, presented = _bearer(request), request.headers.get("x-api-key")
        refusal, reason = invalid_token(), "missing_token"
        if token:
            try:
                session = await self._tokens.session(token)
            except PermanentError as exc:
                refusal = exc
                reason = "expired_token" if exc.code is ErrorCode.TOKEN_EXPIRED else "invalid_token"
            else:
                if session_id in (None, session):
                    return
                reason = "other_token"
        if presented:
            await self._caller(request, presented, Scope.READ)
            return
        note_refusal(reason, self._address(request))
        raise refusal

    async def close(self) -> None:
        """Close what the limits hold open."""
        await self._limits.close()

    def _keyed(self, scope: Scope) -> Callable[..., Awaitable[Caller]]:
        async def keyed(request: Request, presented: str | None = Security(_KEY)) -> Caller:
            return await self._caller(request, presented, scope)

        return keyed

    async def _caller(self, request: Request, presented: str | None, scope: Scope) -> Caller:
        address = self._address(request)
        caller = await self._keys.caller(presented, address)
        if not caller.may(scope):
            note_refusal("scope", address, key_id=caller.key_id, scope=scope.value)
            raise PermanentError(
                ErrorCode.SCOPE_REQUIRED, f"this key lacks the scope {scope.value}", scope=scope.value
            )
        return caller

    async def _count(self, request: Request, limit: Limit, who: str) -> None:
        standing = await self._limits.hit(limit, who)
        if standing is None:
            return
        request.scope[STANDING] = standing  # `SecurityHeaders` makes headers of it
        if not standing.allowed:
            raise TransientError(
                ErrorCode.RATE_LIMITED,
                f"more than {standing.amount} calls in the time of the limit; wait {standing.retry_after} seconds",
                limit=standing.amount,
                **{RETRY_AFTER_DETAIL: standing.retry_after},
            )

    def _address(self, request: Request) -> str:
        return counted_as(client_address(request.scope, self._proxies))


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
