"""Limits in memory: exact against a plain model of the last minute, bounded, and their settings."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.settings import AccessSettings
from facepass.search_api.access.moving_window import BoundedMemory
from facepass.search_api.access.rate_limits import Limit, Limits, Standing


class Clock:
    """Unix time that stands still until it is told to go on. In binary fractions: sums of them are exact."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def settings(*, index: str = "100/minute", search: str = "1000/minute", storage: str = "memory") -> AccessSettings:
    return AccessSettings(limit_index=index, limit_search=search, limit_storage=SecretStr(storage))


async def hit(limits: Limits, who: str) -> Standing:
    standing = await limits.hit(Limit.INDEX, who)
    assert standing is not None
    return standing


STEPS = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.one_of(
        st.integers(0, 64).map(lambda eighths: eighths / 8),
        st.just("as told"),  # waits as Retry-After says, if the call was refused
    ),
)


@pytest.mark.property(16)
@given(amount=st.integers(1, 6), steps=st.lists(STEPS, max_size=60))
async def test_property_16_refused_over_the_limit_and_never_under_it(
    amount: int, steps: list[tuple[str, float | str]]
) -> None:
    clock = Clock()
    limits = Limits(settings(index=f"{amount} per 10 seconds"), clock)
    let_through: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for who, pause in steps:
        recent = [then for then in let_through[who] if then > clock.now - 10]
        standing = await hit(limits, who)
        assert standing.allowed == (len(recent) < amount)
        if standing.allowed:
            let_through[who].append(clock.now)
            recent.append(clock.now)
        assert standing.amount == amount
        assert standing.remaining == amount - len(recent)
        assert 0 < standing.reset_seconds <= 10
        assert 1 <= standing.retry_after <= 11
        if pause != "as told":
            clock.now += pause
        elif not standing.allowed:
            clock.now += standing.retry_after
            assert (await hit(limits, who)).allowed
            let_through[who].append(clock.now)


async def test_index_calls_and_searches_are_counted_apart_and_off_is_off() -> None:
    limits = Limits(settings(index="1/minute", search=" OFF "))
    assert (await hit(limits, "me")).allowed
    assert not (await hit(limits, "me")).allowed
    assert await limits.hit(Limit.SEARCH, "me") is None
    limits = Limits(settings(index="1/minute", search="1/minute"))
    for limit in Limit:
        standing = await limits.hit(limit, "me")
        assert standing is not None
        assert standing.allowed


async def test_memory_is_bounded_whoever_calls() -> None:
    clock, numbers = Clock(), count()
    memory = BoundedMemory(clock=clock, max_calls=1000)
    for number in numbers:
        assert await memory.acquire_entry(f"invented {number}", 3, 60)
        assert len(memory) <= 1000
        if number == 5000:
            break
    # who called lately is remembered all the same
    assert [await memory.acquire_entry("me", 3, 60) for _ in range(4)] == [True, True, True, False]


async def test_callers_who_are_gone_are_forgotten() -> None:
    clock = Clock()
    memory = BoundedMemory(clock=clock)
    for number in range(1000):
        assert await memory.acquire_entry(f"gone {number}", 3, 60)
    clock.now += 60
    for _ in range(500):
        await memory.acquire_entry("me", 3, 60)
    assert len(memory) == 1
    assert not await memory.acquire_entry("me", 3, 60)


@pytest.mark.parametrize(
    "text", ["", "many", "100", "0/minute", "100/minute;5/second", "-1/minute", "1/fortnight"]
)
def test_an_unusable_limit_is_named(text: str) -> None:
    with pytest.raises(PermanentError, match="FACEPASS_LIMIT_INDEX") as caught:
        Limits(settings(index=text))
    assert caught.value.code is ErrorCode.INVALID_SETTING


@pytest.mark.parametrize(
    "text", ["", "redis", "http://redis:6379", "postgresql://u:hunter2@h/d", "redis://h:hunter2"]
)
def test_an_unusable_storage_is_named_and_not_repeated(text: str) -> None:
    with pytest.raises(PermanentError, match="FACEPASS_LIMIT_STORAGE") as caught:
        Limits(settings(storage=text))
    assert caught.value.code is ErrorCode.INVALID_SETTING
    assert "hunter2" not in str(caught.value)
