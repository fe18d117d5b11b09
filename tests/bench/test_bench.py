"""`facepass bench`, run as its users run it, at sizes that say nothing about speed."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(920)  # the first test waits for the whole run

FIELDS = {"name", "ours", "bare", "ratio", "unit", "goal", "met", "note"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The rows of one quick run of everything."""
    directory = tmp_path_factory.mktemp("bench")
    environment = os.environ | {"FACEPASS_CACHE_DIR": str(directory / "packs"), "TMPDIR": str(directory)}
    command = [sys.executable, "-m", "facepass", "bench", "--quick", "--json"]
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=900, check=False, cwd=directory
    )
    assert result.returncode == 0, result.stderr
    assert "openvino" in result.stderr  # versions are told
    assert not list(directory.glob("facepass-bench-*")), "the temporary directory stayed behind"
    return [json.loads(line) for line in result.stdout.splitlines()]


def named(rows: list[dict[str, Any]], beginning: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["name"].startswith(beginning)]


def test_every_row_has_both_figures_and_says_what_bare_is(rows: list[dict[str, Any]]) -> None:
    assert rows
    for row in rows:
        assert set(row) == FIELDS
        figures = (row["ours"], row["bare"], row["ratio"])
        assert all(isinstance(figure, float) and math.isfinite(figure) for figure in figures), row
        assert row["bare"] > 0
        assert (row["goal"] is None) == (row["met"] is None)
        assert row["note"]


@pytest.mark.parametrize(
    ("beginning", "goals"),
    [
        ("shard search", ["<= 0.15 ms more each"]),
        ("cold load", [">= 0.7 x bare"]),
        ("memory of a face", ["<= 1.15 x bare + 64 B"]),
        ("ingest, event to row, beside the loop", [">= 2 x bare"]),
        ("ingest, event to row", [">= 0.85 x bare", ">= 2 x bare"]),
        ("ingest, processor time", [None]),
        ("ingest, cores used", [None]),
        ("searches over HTTP, ", [">= 0.8 x bare"]),
        ("HTTP, parsing and ranking of a search", ["< 3 ms", "< 10 ms"]),
        ("search over HTTP by a photo from a phone, p50", ["<= 1.1 x bare + 3 ms"]),
        ("index/batch of", ["<= 1.15 x bare"]),
        ("search over HTTP while ingest", [None, None, None]),
        ("intake, photos registered", [">= 3,000 events/s"]),
        ("event to searchable", ["<= bare + 60 ms", "<= bare + 300 ms"]),
        ("first answer after kill -9 of serve", ["< 1000 ms"]),
    ],
)
def test_what_was_promised_is_measured(
    rows: list[dict[str, Any]], beginning: str, goals: list[str | None]
) -> None:
    assert [row["goal"] for row in named(rows, beginning)] == goals


@pytest.mark.property(13)
def test_property_13_percentiles_of_searches_in_a_session_of_1000_photos(rows: list[dict[str, Any]]) -> None:
    found = {
        row["name"].rpartition(" ")[2]: row for row in named(rows, "search over HTTP, session of 1,000 photos")
    }
    assert list(found) == ["p50", "p95", "p99"]
    assert 0 < found["p50"]["ours"] <= found["p95"]["ours"] <= found["p99"]["ours"]
    assert all(row["unit"] == "ms" for row in found.values())
    assert found["p50"]["goal"] == "<= 1.1 x bare + 3 ms"
    assert found["p95"]["goal"] == "< 500 ms"


def test_the_p95_of_several_clients_at_once_is_measured(rows: list[dict[str, Any]]) -> None:
    (row,) = (row for row in rows if row["name"].endswith("clients at once, p95"))
    assert row["name"].startswith("search over HTTP, ")
    assert (row["goal"], row["unit"]) == ("< 500 ms", "ms")


def test_what_http_adds_is_the_rest_of_a_search_beside_its_own_analysis(rows: list[dict[str, Any]]) -> None:
    p50, p99 = named(rows, "HTTP, parsing and ranking of a search")
    assert 0 < p50["ours"] <= p99["ours"]  # below 0 if more than its own analysis were taken away


def test_ingest_found_the_same_faces_as_the_bare_engine(rows: list[dict[str, Any]]) -> None:
    assert "faces stored, the same by bare" in named(rows, "ingest, event to row")[0]["note"]


def test_the_search_found_the_person_who_was_put_there(rows: list[dict[str, Any]]) -> None:
    note = named(rows, "search over HTTP, session of 1,000 photos")[0]["note"]
    assert " 0 photos found" not in note


def test_what_bench_measures_can_be_chosen_and_nothing_else_is_accepted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "facepass", "bench", "everything"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert "ingest" in result.stderr


def test_a_missed_goal_fails_only_when_asked_to(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "facepass", "bench", "shard", "--quick", "--markdown", "--strict"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=900, check=False, cwd=tmp_path
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 2 + 3, result.stderr
    missed = any(line.endswith("| missed |") for line in lines)
    assert result.returncode == int(missed), result.stderr
