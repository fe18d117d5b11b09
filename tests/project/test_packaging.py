"""The lock files, .env.example and the README's commands agree with what they are made from."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from facepass.schemas.settings import env_example

ROOT = Path(__file__).parents[2]
LOCKS = {"runtime.lock": ["build"], "dev.lock": ["dev"]}
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
    for line in PROJECT["project"]["dependencies"] + [one for group in LOCKS[lock] for one in _group(group)]:
        wanted = Requirement(line)
        versions = pins.get(wanted.name.lower().replace("_", "-"), [])
        assert any(wanted.specifier.contains(version) for version in versions), f"{lock}: {line}: run make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_a_hash_for_everything_and_names_no_place(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    for pin in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        assert not pin or re.fullmatch(r"\S+==\S+( ; [^\\\n]+)? \\\n(    --hash=sha256:\w{64}( \\)?\n)+", pin), pin
    assert "://" not in text


def test_dev_lock_has_the_versions_of_the_runtime_lock() -> None:
    dev = _locked("dev.lock")
    assert {
        name: versions for name, versions in _locked("runtime.lock").items() if dev.get(name) != versions
    } == {}


@pytest.mark.parametrize("lock", LOCKS)
def test_what_must_not_be_installed_is_not(lock: str) -> None:
    """The second owner of `cv2`, and what reports OpenVINO's use to others."""
    for name in ("opencv-python", "openvino-telemetry"):
        line = re.search(rf"^{name}==.*$", (ROOT / "requirements" / lock).read_text(), re.MULTILINE)
        assert line is None or "sys_platform == 'never'" in line[0]


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
