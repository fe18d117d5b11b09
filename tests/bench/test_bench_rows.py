"""The benchmark's rows, goals, percentiles and photos."""

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from bench.photo_sets import LONGER_SIDES, make_photos, own_photos
from bench.report import print_table, to_markdown
from bench.row import Goal, Row, at_least, at_most, below, rate_within, reaches, skipped
from bench.timing import in_turns, percentiles
from facepass.schemas.errors import ErrorCode, PermanentError


def a_row(ours: float | None, bare: float | None, goal: Goal | None = None) -> Row:
    return Row(name="a [row]", ours=ours, bare=bare, unit="ms", goal=goal, note="bare: [nothing]")


@pytest.mark.parametrize(
    ("goal", "ours", "bare", "met"),
    [
        (at_least(0.85), 85.0, 100.0, True),
        (at_least(0.85), 84.9, 100.0, False),
        (at_most(1.1, plus=3, unit="ms"), 25.0, 20.0, True),
        (at_most(1.1, plus=3, unit="ms"), 25.1, 20.0, False),
        (rate_within(0.15), 4_000.0, 10_000.0, True),  # 0.25 ms against 0.1 ms
        (rate_within(0.15), 3_900.0, 10_000.0, False),
        (below(500, "ms"), 499.0, 1.0, True),
        (below(500, "ms"), 500.0, 1.0, False),
        (reaches(3000, "events/s"), 3000.0, 9000.0, True),
        (reaches(3000, "events/s"), 2999.0, 1.0, False),
    ],
)
def test_goals_are_met_up_to_their_bound(goal: Goal, ours: float, bare: float, met: bool) -> None:
    assert a_row(ours, bare, goal).met is met


def test_a_bound_without_an_addition_names_none() -> None:
    assert at_most(1.15, plus=0, unit="s").text == "<= 1.15 x bare"
    assert at_most(1, plus=60, unit="ms").text == "<= bare + 60 ms"


def test_a_row_as_json_has_the_agreed_names() -> None:
    fields = json.loads(a_row(123.456, 100.0, at_least(0.85)).to_json())
    assert fields == {
        "name": "a [row]",
        "ours": 123.5,
        "bare": 100.0,
        "ratio": 1.235,
        "unit": "ms",
        "goal": ">= 0.85 x bare",
        "met": True,
        "note": "bare: [nothing]",
    }


def test_a_skipped_row_is_neither_met_nor_missed() -> None:
    fields = json.loads(skipped("peers", "photos/s", "no scipy", at_least(2)).to_json())
    assert (fields["ours"], fields["bare"], fields["ratio"], fields["met"]) == (None, None, None, None)
    assert fields["note"] == "skipped: no scipy"


def test_both_tables_show_every_row_with_both_figures_and_its_verdict() -> None:
    rows = [a_row(1234.5, 0.0123, at_least(1)), a_row(1.0, 2.0, at_least(1)), skipped("x", "ms", "why")]
    written = io.StringIO()
    print_table(rows, Console(file=written, width=200))
    for text in (written.getvalue(), to_markdown(rows)):
        assert "a [row]" in text
        for figure in ("1,234", "0.0123", "met", "missed", "skipped"):
            assert figure in text
    assert "bare: [nothing]" in written.getvalue()


def test_percentiles_of_known_times() -> None:
    found = percentiles([float(number) for number in range(101)])
    assert (found.p50, found.p95, found.p99) == (50.0, 95.0, 99.0)


def test_turns_swap_their_order_and_leave_out_the_warm_up() -> None:
    calls: list[str] = []
    ours, bare = in_turns(lambda: calls.append("o"), lambda: calls.append("b"), rounds=3)
    assert "".join(calls) == "ob" + "ob" + "bo" + "ob"
    assert len(ours) == len(bare) == 3


def test_made_photos_have_camera_sizes_and_repeat(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 32)
    assert len(set(photos.names)) == 32
    contents = photos.contents()
    assert len(set(contents)) == 30
    pictures = [
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) for data in contents[:15]
    ]
    assert {max(picture.shape) for picture in pictures} == {side // 8 for side in LONGER_SIDES}


def test_own_photos_are_found_below_the_directory_and_repeated(tmp_path: Path) -> None:
    (tmp_path / "day").mkdir()
    for name in ("a.jpg", "day/b.PNG", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    photos = own_photos(tmp_path, 5)
    assert len(photos.names) == len(photos.contents()) == 5
    assert set(photos.names) == {"a.jpg", "day/b.PNG"}


def test_a_directory_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        own_photos(tmp_path, 5)
    assert caught.value.code is ErrorCode.INVALID_SETTING
