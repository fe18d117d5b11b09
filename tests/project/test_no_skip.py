"""FACEPASS_NO_SKIP=1 turns every kind of skip into a failure, and leaves expected failures alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIPS = """
import pytest

def test_by_call(): pytest.skip("by call")

@pytest.mark.skip(reason="by mark")
def test_by_mark(): pass

@pytest.fixture
def thing(): pytest.skip("by fixture")

def test_by_fixture(thing): pass

@pytest.mark.xfail(strict=True)
def test_expected(): assert False
"""


def _run(directory: Path, no_skip: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        "--rootdir",
        str(directory),
    ]
    environment = os.environ | {"FACEPASS_NO_SKIP": no_skip, "PYTHONPATH": str(CONFTEST.parent)}
    run = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    return run.stdout


def test_skips_fail_when_they_must_not_happen(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_skips.py").write_text(SKIPS)
    (tmp_path / "test_module.py").write_text("import pytest\npytest.skip('whole', allow_module_level=True)\n")
    assert "4 skipped, 1 xfailed" in _run(tmp_path, "0")
    told = _run(tmp_path, "1")
    assert "skipped in" not in told
    for reason in ("by call", "by mark", "by fixture", "whole"):
        assert re.search(f"FACEPASS_NO_SKIP=1, but this was skipped: .*{reason}", told), told
