"""The documents that say where things are: every file and folder they name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
DOCUMENTS = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md")), *DECISIONS]

MADE_BY_TESTS = "artefacts/"

_NAMED = re.compile(r"`((?:[a-z_0-9]+/)+(?:[a-z_0-9]+\.(?:py|sql|md|toml|js))?)`")
_LINKED = re.compile(r"\]\(([^)#:]+)\)")


def _exists(name: str, document: Path) -> bool:
    """By its path from the root, from the package, or beside the document."""
    return any((base / name).exists() for base in (ROOT, ROOT / "facepass", document.parent))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    named = [name for name in _NAMED.findall(text) + _LINKED.findall(text) if not name.startswith(MADE_BY_TESTS)]
    assert [name for name in named if not _exists(name, document)] == []


def test_every_decision_is_in_the_index() -> None:
    listed = set(_LINKED.findall((ROOT / "docs" / "decisions" / "README.md").read_text()))
    assert listed == {path.name for path in DECISIONS} - {"README.md"}
