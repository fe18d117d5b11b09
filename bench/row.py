"""The rows of the benchmark's table, and the goals that they are held against."""

import json
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The mark that a row should reach: `text` as printed, `reached` of (ours, bare) in the row's unit."""

    text: str
    reached: Callable[[float, float], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement beside its bare counterpart.

    Attributes:
        name: what was measured.
        ours, bare: in `unit`; both None when the row was skipped, for the reason in `note`.
        unit: of both. A rate (photos/s) is better when higher, a time or size when lower.
        goal: None: reported only.
        note: what bare is, and what belongs to a fair reading.
    """

    name: str
    ours: float | None
    bare: float | None
    unit: str
    goal: Goal | None = None
    note: str

    @property
    def ratio(self) -> float | None:
        """Ours divided by bare, whatever the unit."""
        if self.ours is None or self.bare is None or self.bare == 0:
            return None
        return self.ours / self.bare

    @property
    def met(self) -> bool | None:
        """True if the goal was reached; None without a goal or a measurement."""
        if self.goal is None or self.ours is None or self.bare is None:
            return None
        return self.goal.reached(self.ours, self.bare)

    def to_json(self) -> str:
        """The row as one JSON object on one line."""
        fields = {
            "name": self.name,
            "ours": _short(self.ours),
            "bare": _short(self.bare),
            "ratio": _short(self.ratio),
            "unit": self.unit,
            "goal": self.goal.text if self.goal else None,
            "met": self.met,
            "note": self.note,
        }
        return json.dumps(fields, ensure_ascii=False)


def skipped(name: str, unit: str, reason: str, goal: Goal | None = None) -> Row:
    """A row that could not be measured, with its reason."""
    return Row(name=name, ours=None, bare=None, unit=unit, goal=goal, note=f"skipped: {reason}")


def at_least(share: float) -> Goal:
    """A goal for rates: at least `share` times bare."""
    return Goal(text=f">= {share:g} x bare", reached=lambda ours, bare: ours >= share * bare)


def at_most(share: float, plus: float, unit: str) -> Goal:
    """A goal for times and sizes: at most `share` times bare and `plus` more, in the row's unit."""
    factor = "" if share == 1 else f"{share:g} x "
    more = f" + {plus:g} {unit}" if plus else ""
    return Goal(text=f"<= {factor}bare{more}", reached=lambda ours, bare: ours <= share * bare + plus)


def rate_within(milliseconds: float) -> Goal:
    """A goal for rates per second: one takes at most `milliseconds` longer than bare."""
    return Goal(
        text=f"<= {milliseconds:g} ms more each",
        reached=lambda ours, bare: 1000 / ours <= 1000 / bare + milliseconds,
    )


def below(limit: float, unit: str) -> Goal:
    """A goal for times and sizes: under a fixed limit, whatever bare is."""
    return Goal(text=f"< {limit:g} {unit}", reached=lambda ours, _bare: ours < limit)


def reaches(least: float, unit: str) -> Goal:
    """A goal for rates: at least so many, whatever bare is."""
    return Goal(text=f">= {least:,g} {unit}", reached=lambda ours, _bare: ours >= least)


def _short(value: float | None) -> float | None:
    """Four significant digits: more would pretend to a precision that no run has."""
    return None if value is None else float(f"{value:.4g}")
