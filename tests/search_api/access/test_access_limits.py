"""Limits over HTTP, by key and by address, and in a real Redis that comes and goes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from io import StringIO

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from pydantic import SecretStr
from support.guarded import client_of, guarded_app
from support.redis_server import RedisServer, missing_for_redis
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.callers import Scope
from facepass.schemas.settings import AccessSettings, DatabaseSettings
from facepass.search_api.access.rate_limits import Limit, Limits
from facepass.storage.callers.api_keys import create_key


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


def access(**changes: object) -> AccessSettings:
    return AccessSettings.model_validate(changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Two keys and three addresses; each call goes to a fresh application's routes."""

    keys: dict[str, str]

    async def call(self, client: httpx.AsyncClient, who: str) -> httpx.Response:
        if who in self.keys:
            return await client.post("/index", headers={"X-API-Key": self.keys[who]})
        return await client.post("/search", headers={"X-Forwarded-For": f"{who}, 10.0.0.1"})


async def callers_of(stack: SearchStack) -> Callers:
    made = {name: await create_key(stack.parts.store.database, name, [Scope.INDEX]) for name in ("key a", "key b")}
    return Callers(keys={name: key.key for name, key in made.items()})


WHO = st.sampled_from(["key a", "key b", "198.51.100.1", "2001:db8::1", "2001:db8::ffff"])


@pytest.mark.property(16)
@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(calls=st.lists(WHO, max_size=30), amount=st.integers(1, 5))
async def test_property_16_limits_hold_per_key_and_per_address(
    stack: SearchStack, calls: list[str], amount: int
) -> None:
    callers = await callers_of(stack)
    limit = f"{amount}/day"
    settings = access(limit_index=limit, limit_search=limit, trusted_proxies="10.0.0.0/8")
    app, _ = guarded_app(replace(stack.parts, access=settings))
    client = client_of(app, "10.9.9.9")
    used: dict[str, int] = {}
    for who in calls:
        counted = "2001:db8::/64" if ":" in who else who
        before = used.get(counted, 0)
        answer = await callers.call(client, who)
        used[counted] = min(before + 1, amount)
        assert answer.status_code == (200 if before < amount else 429), (who, before)
        assert answer.headers["X-RateLimit-Limit"] == str(amount)
        assert answer.headers["X-RateLimit-Remaining"] == str(amount - used[counted])
        assert 0 <= int(answer.headers["X-RateLimit-Reset"]) - time.time() <= 86_401
        if answer.status_code == 429:
            assert answer.json()["code"] == "rate_limited"
            assert 1 <= int(answer.headers["Retry-After"]) <= 86_401
            assert answer.json()["details"]["retry_after_seconds"] == int(answer.headers["Retry-After"])


def refused_by(limit: str) -> float:
    return REGISTRY.get_sample_value("rate_limited_total", {"limit": limit}) or 0.0


async def test_a_refused_key_counts_for_nobody_and_off_sends_no_headers(stack: SearchStack) -> None:
    callers = await callers_of(stack)
    app, _ = guarded_app(replace(stack.parts, access=access(limit_index="1/day", limit_search="off")))
    client = client_of(app)
    for _ in range(3):
        assert (await client.post("/index")).status_code == 401
    before = refused_by("index")
    assert [(await callers.call(client, "key a")).status_code for _ in range(2)] == [200, 429]
    assert refused_by("index") == before + 1
    answers = [await client.post("/search") for _ in range(50)]
    assert {answer.status_code for answer in answers} == {200}
    assert not any(name.startswith("x-ratelimit") for answer in answers for name in answer.headers)


async def test_the_default_limits_are_those_of_the_documents(stack: SearchStack) -> None:
    callers = await callers_of(stack)
    app, _ = guarded_app(replace(stack.parts, access=AccessSettings()))
    client = client_of(app)
    assert (await callers.call(client, "key a")).headers["X-RateLimit-Limit"] == "100"
    assert (await client.post("/search")).headers["X-RateLimit-Limit"] == "1000"


async def test_a_searcher_who_waits_as_told_is_let_through(stack: SearchStack) -> None:
    app, _ = guarded_app(replace(stack.parts, access=access(limit_search="2/second")))
    client = client_of(app)
    for _ in range(2):
        while (answer := await client.post("/search")).status_code == 200:
            pass
        await asyncio.sleep(int(answer.headers["Retry-After"]))
        assert (await client.post("/search")).status_code == 200


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A running Redis, with time to answer on a busy machine."""
    if missing := missing_for_redis():
        pytest.skip(missing)
    monkeypatch.setattr("facepass.search_api.access.rate_limits.REDIS_SECONDS", 30.0)
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def limits_in(storage: str, limit: str = "3/day") -> AsyncIterator[Limits]:
    limits = Limits(access(limit_search=limit, limit_storage=SecretStr(storage)))
    try:
        yield limits
    finally:
        await limits.close()


async def allowed(limits: Limits, who: str) -> bool:
    standing = await limits.hit(Limit.SEARCH, who)
    assert standing is not None
    return standing.allowed


def failures() -> float:
    return REGISTRY.get_sample_value("limit_storage_failures_total") or 0.0


@pytest.mark.property(16)
async def test_property_16_replicas_with_one_redis_count_together(redis: RedisServer) -> None:
    before = failures()
    async with limits_in(redis.uri) as one, limits_in(redis.uri) as other:
        assert [await allowed(limits, "me") for limits in (one, other, one, other, one)] == [True] * 3 + [
            False
        ] * 2
        assert await allowed(other, "you")
        standing = await one.hit(Limit.SEARCH, "you")
        assert standing is not None
        assert (standing.amount, standing.remaining) == (3, 1)
        assert 0 < standing.reset_seconds <= 86_400
        together = await asyncio.gather(*(allowed(limits, "crowd") for limits in (one, other) for _ in range(20)))
        assert sum(together) == 3
    assert failures() == before


async def test_in_redis_too_a_caller_who_waits_as_told_is_let_through(redis: RedisServer) -> None:
    before = failures()
    async with limits_in(redis.uri, "2/second") as limits:
        for _ in range(2):
            while (standing := await limits.hit(Limit.SEARCH, "me")) is not None and standing.allowed:
                pass
            assert standing is not None
            await asyncio.sleep(standing.retry_after)
            assert await allowed(limits, "me")
    assert failures() == before


async def test_without_redis_every_process_counts_for_itself_until_it_is_back(
    redis: RedisServer, log_lines: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facepass.search_api.access.rate_limits.RETRY_REDIS_SECONDS", 0.05)
    before = failures()
    async with limits_in(redis.uri) as one, limits_in(redis.uri) as other:
        assert [await allowed(one, "me") for _ in range(4)] == [True, True, True, False]
        redis.stop()
        for limits in (one, other):
            assert [await allowed(limits, "me") for _ in range(4)] == [True, True, True, False]
            await asyncio.sleep(0.1)
            assert not await allowed(limits, "me")
        assert failures() >= before + 2
        assert log_lines.getvalue().count("limit_storage_failed") == 2  # once in each process
        redis.start()
        await _until(one, lambda: "limit_storage_back" in log_lines.getvalue())
        assert log_lines.getvalue().count("limit_storage_failed") == 2
        assert await allowed(one, "later")
        assert [await allowed(other, "later") for _ in range(3)] in ([True, True, False], [True] * 3)
        await _until(other, lambda: log_lines.getvalue().count("limit_storage_back") == 2)
        together = [await allowed(limits, "at last") for limits in (one, other, one, other)]
        assert together == [True, True, True, False]


async def _until(limits: Limits, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await limits.hit(Limit.SEARCH, "somebody")
            await asyncio.sleep(0.02)


async def test_a_redis_that_answers_nothing_holds_up_one_call_at_a_time(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facepass.search_api.access.rate_limits.REDIS_SECONDS", 0.2)
    monkeypatch.setattr("facepass.search_api.access.rate_limits.RETRY_REDIS_SECONDS", 600.0)
    async with limits_in(redis.uri) as limits:
        assert await allowed(limits, "me")
        before = failures()
        with redis.frozen():
            assert await allowed(limits, "me")
            assert [await allowed(limits, "me") for _ in range(100)] == [True] * 2 + [False] * 98
        assert failures() == before + 1


async def test_a_password_of_redis_is_in_no_log(redis: RedisServer, log_lines: StringIO) -> None:
    async with limits_in(redis.uri.replace("//", "//nobody:hunter2@")) as limits:
        before = failures()
        assert await allowed(limits, "me")
        assert failures() == before + 1
    assert "limit_storage_failed" in log_lines.getvalue()
    assert "hunter2" not in log_lines.getvalue()
