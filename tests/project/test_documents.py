"""The documents that say where things are: every file and folder they name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "README.md",
    *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")),
]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))

_NAMED = re.compile(r"`((?:[a-z_0-9]+/)+(?:[a-z_0-9]+\.(?:py|sql|md|toml|js))?)`")
_LINKED = re.compile(r"\]\(([^)#:]+)\)")


def _exists(name: str, document: Path) -> bool:
    """By its path from the root, from the package, or beside the document."""
    return any((base / name).exists() for base in (ROOT, ROOT / "facepass", document.parent))


@pytest.mark.parametrize("document", [*DOCUMENTS, *(f"docs/decisions/{path.name}" for path in DECISIONS)])
def test_what_a_document_names_is_there(document: str) -> None:
    path = ROOT / document
    text = path.read_text()
    missing = [name for name in _NAMED.findall(text) + _LINKED.findall(text) if not _exists(name, path)]
    assert missing == []


def test_every_decision_is_in_the_index() -> None:
    listed = set(_LINKED.findall((ROOT / "docs" / "decisions" / "README.md").read_text()))
    assert listed == {path.name for path in DECISIONS} - {"README.md"}
