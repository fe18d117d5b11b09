"""The limits on a caller's calls: moving windows by the library `limits`, in memory or in Redis.

The policy while Redis does not answer: calls go on, and every process counts for itself in memory until Redis is
back. That lets through more than the limit when there are several processes; refusing everybody would be worse.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from limits import RateLimitItem, parse_many
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from facepass.schemas import metrics
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.logs import get_logger
from facepass.schemas.settings import AccessSettings
from facepass.search_api.access.moving_window import BoundedMemory

_log = get_logger(__name__)

OFF = "off"
MEMORY = "memory"

MAX_AMOUNT = 100_000
"""Calls of a limit at most: the time of each is remembered."""

REDIS_SECONDS = 1.0
"""How long one answer of Redis is waited for. It takes well under a millisecond."""

RETRY_REDIS_SECONDS = 5.0
"""After a failure, Redis is left alone for this long; then one call tries it."""


class Limit(StrEnum):
    """A kind of calls that are counted."""

    INDEX = "index"
    """Calls that index or delete, by key."""
    SEARCH = "search"
    """Searches, by client address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The standing of a caller after a call.

    Attributes:
        allowed: whether this call counted; else it is to be refused.
        amount: calls that the limit allows within its window.
        remaining: calls that are left now.
        reset_seconds: until the oldest call that counts no longer does.
    """

    allowed: bool
    amount: int
    remaining: int
    reset_seconds: float

    @property
    def retry_after(self) -> int:
        """Whole seconds after which a refused call is let through, if the caller sends no other meanwhile."""
        return max(0, math.floor(self.reset_seconds)) + 1


class Limits:
    """The counts of calls. One a process, for one event loop."""

    def __init__(self, settings: AccessSettings, clock: Callable[[], float] = time.time) -> None:
        """Read the settings; nothing is connected yet.

        Args:
            clock: Unix time, of the windows in memory.

        Raises:
            PermanentError: `invalid_setting`.
        """
        self._clock = clock
        self._items = {
            Limit.INDEX: read_limit(settings.limit_index, "FACEPASS_LIMIT_INDEX"),
            Limit.SEARCH: read_limit(settings.limit_search, "FACEPASS_LIMIT_SEARCH"),
        }
        self._memory = MovingWindowRateLimiter(BoundedMemory(clock=clock))
        self._pool = _read_pool(settings.limit_storage.get_secret_value())
        self._shared = None if self._pool is None else _in_redis(self._pool)
        self._failed_at: float | None = None

    async def hit(self, limit: Limit, who: str) -> Standing | None:
        """Count a call, if it is allowed; None: there is no such limit."""
        item = self._items[limit]
        if item is None:
            return None
        standing = await self._count(item, limit, who)
        if not standing.allowed:
            metrics.rate_limited_total.labels(limit.value).inc()
        return standing

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._pool is not None:
            await self._pool.aclose()

    async def _count(self, item: RateLimitItem, limit: Limit, who: str) -> Standing:
        if self._shared is None or not self._try_redis():
            return await _hit(self._memory, item, limit, who, self._clock)
        try:
            standing = await _hit(self._shared, item, limit, who, time.time)
        except StorageError as exc:
            self._redis_failed(exc)
            return await _hit(self._memory, item, limit, who, self._clock)
        if self._failed_at is not None:
            self._failed_at = None
            _log.info("limit_storage_back")
        return standing

    def _try_redis(self) -> bool:
        """True if Redis is to be asked. After a failure one call tries it, the others do not wait with it."""
        now = time.monotonic()
        if self._failed_at is None:
            return True
        if now < self._failed_at + RETRY_REDIS_SECONDS:
            return False
        self._failed_at = now
        return True

    def _redis_failed(self, error: StorageError) -> None:
        metrics.limit_storage_failures_total.inc()
        if self._failed_at is None:
            # The class alone: what else the client says may hold the password of the address.
            _log.warning("limit_storage_failed", reason=type(error.storage_error).__name__, counting_in="memory")
        self._failed_at = time.monotonic()


async def _hit(
    limiter: MovingWindowRateLimiter, item: RateLimitItem, limit: Limit, who: str, clock: Callable[[], float]
) -> Standing:
    allowed = await limiter.hit(item, limit.value, who)
    reset, remaining = await limiter.get_window_stats(item, limit.value, who)
    return Standing(
        allowed=allowed, amount=item.amount, remaining=max(0, remaining), reset_seconds=reset - clock()
    )


def read_limit(text: str, setting: str) -> RateLimitItem | None:
    """The limit in a setting such as `100/minute`; None for `off`.

    Raises:
        PermanentError: `invalid_setting`.
    """
    if text.strip().lower() == OFF:
        return None
    try:
        items = parse_many(text)
    except ValueError:
        items = []
    if len(items) != 1 or not 1 <= items[0].amount <= MAX_AMOUNT or items[0].get_expiry() < 1:
        raise PermanentError(
            ErrorCode.INVALID_SETTING,
            f"{setting}: give one limit of 1 to {MAX_AMOUNT} calls such as 100/minute or 10 per 5 seconds, or off",
            setting=setting,
        )
    return items[0]


def _read_pool(text: str) -> ConnectionPool | None:
    """Connections to Redis, none of them made yet; None: count in memory.

    Raises:
        PermanentError: `invalid_setting`, without the value: it may hold a password.
    """
    if text.strip().lower() == MEMORY:
        return None
    try:
        # Its default tries again for seconds, and every search would wait with it.
        pool: ConnectionPool = ConnectionPool.from_url(
            text.strip(),
            socket_timeout=REDIS_SECONDS,
            socket_connect_timeout=REDIS_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        raise PermanentError(
            ErrorCode.INVALID_SETTING,
            "FACEPASS_LIMIT_STORAGE: give memory, or Redis as redis://host:port or rediss://host:port",
            setting="FACEPASS_LIMIT_STORAGE",
        ) from None
    return pool


def _in_redis(pool: ConnectionPool) -> MovingWindowRateLimiter:
    options: dict[str, Any] = {"connection_pool": pool}
    return MovingWindowRateLimiter(
        RedisStorage(
            "async+redis://", wrap_exceptions=True, implementation="redispy", key_prefix="facepass", **options
        )
    )
