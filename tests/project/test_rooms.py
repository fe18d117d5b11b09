"""The measures of the house: how much a folder, a file and a function hold, and that every room has a door.

A function's length is its lines from `def` to its end, docstring and signature included, decorators not. Methods
and functions within functions are functions of their own too. A folder's files are those of Python that lie in it
directly, without its `__init__.py`: statements in `sql` and the page's scripts are looked up by their name.
"""

import ast
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("facepass", "bench")

FILES_A_FOLDER = 12
LINES_A_FILE = 300
LINES_A_FUNCTION = 50
LINES_OF_NINE_IN_TEN_FUNCTIONS = 20

NAMES_THAT_MAY_REPEAT = {"__init__.py", "errors.py", "routes.py"}


def _folders() -> list[Path]:
    found = [one for package in PACKAGES for one in [ROOT / package, *(ROOT / package).rglob("*")] if one.is_dir()]
    return sorted(one for one in found if "__pycache__" not in one.parts)


def _sources() -> list[Path]:
    return sorted(file for folder in _folders() for file in folder.glob("*.py"))


def _rooms() -> list[Path]:
    """Folders of Python, and those that only lead to some."""
    sources = _sources()
    return [folder for folder in _folders() if any(file.is_relative_to(folder) for file in sources)]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions() -> Iterator[tuple[int, str]]:
    """Length and place of each."""
    for file in _sources():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                yield length, f"{_name(file)}:{node.lineno} {node.name}"


@pytest.mark.parametrize("folder", _folders(), ids=_name)
def test_a_folder_holds_no_more_files_than_one_can_take_in(folder: Path) -> None:
    files = sorted(file.name for file in folder.glob("*.py") if file.name != "__init__.py")
    assert len(files) <= FILES_A_FOLDER, files


def test_a_files_name_is_found_once() -> None:
    names = Counter(file.name for file in _sources() if file.is_relative_to(ROOT / "facepass"))
    assert {name for name, count in names.items() if count > 1} <= NAMES_THAT_MAY_REPEAT


def test_no_file_is_too_long() -> None:
    lengths = {_name(file): len(file.read_text().splitlines()) for file in _sources()}
    assert {name: length for name, length in lengths.items() if length > LINES_A_FILE} == {}


def test_no_function_is_too_long() -> None:
    assert [function for function in _functions() if function[0] > LINES_A_FUNCTION] == []


def test_nine_in_ten_functions_are_short() -> None:
    lengths = sorted(length for length, _ in _functions())
    assert lengths[math.ceil(0.9 * len(lengths)) - 1] <= LINES_OF_NINE_IN_TEN_FUNCTIONS


@pytest.mark.parametrize("room", _rooms(), ids=_name)
def test_a_room_has_a_door_that_says_what_it_offers(room: Path) -> None:
    """One that imports or defines nothing, but only leads to the files inside, offers nothing by itself."""
    door = room / "__init__.py"
    assert door.exists(), "no __init__.py"
    module = ast.parse(door.read_text())
    assert ast.get_docstring(module), "no docstring"
    offers = any(not isinstance(statement, ast.Expr) for statement in module.body)
    assigned = {
        target.id
        for statement in module.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    assert not offers or "__all__" in assigned, "no __all__"
