"""Measuring two things in turns, and what to say of the times."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """The percentiles, in the unit of what was summarised."""

    p50: float
    p95: float
    p99: float


def percentiles(times: Sequence[float]) -> Percentiles:
    """The 50th, 95th and 99th percentile of at least two values, interpolated."""
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return Percentiles(p50=cuts[49], p95=cuts[94], p99=cuts[98])


def timed(work: Callable[[], object]) -> float:
    """Seconds that one call took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(
    ours: Callable[[], object], bare: Callable[[], object], *, rounds: int, warm_up: int = 1
) -> tuple[list[float], list[float]]:
    """Call both `rounds` times, ours then bare and bare then ours by turns; seconds of each call.

    The order is swapped each round, because the second finds the caches and the clock as the first left them.
    """
    for _ in range(warm_up):
        ours()
        bare()
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            times[which].append(timed(bare if which else ours))
    return times
