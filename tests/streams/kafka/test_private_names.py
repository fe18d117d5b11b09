"""The private names of Faust and aiokafka that the streams touch: all of them listed, and no version unknown."""

import ast
import importlib
import inspect
import re
import textwrap
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import facepass.streams
from facepass.streams.kafka import offset_tracking

STREAMS = Path(facepass.streams.__file__).parent
ROOT = Path(__file__).parents[3]
LIBRARIES = ("faust", "mode", "aiokafka")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names(tree: ast.AST, *, of_self: bool) -> set[str]:
    """Private attributes in a tree: those of `self`, or those of anything else, `super()` included."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and (isinstance(node.value, ast.Name) and node.value.id == "self") is of_self
    }


def defined(tree: ast.ClassDef) -> set[str]:
    """Private methods and variables that a class itself has."""
    functions = [one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    variables = [
        one.target.id for one in tree.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    ]
    return {name for name in functions + variables if is_private(name)}


def known_to_library(kind: type) -> set[str]:
    """Private names of those of a class's ancestors that are a library's."""
    known: set[str] = set()
    for ancestor in kind.__mro__:
        if ancestor.__module__.split(".")[0] in LIBRARIES:
            tree = ast.parse(textwrap.dedent(inspect.getsource(ancestor))).body[0]
            assert isinstance(tree, ast.ClassDef)
            known |= private_names(tree, of_self=True) | defined(tree)
    return known


def touched() -> Iterator[tuple[str, Path]]:
    """Every private name of somebody else's, and where."""
    for file in STREAMS.rglob("*.py"):
        tree = ast.parse(file.read_text())
        for name in private_names(tree, of_self=False):
            yield name, file
        module = importlib.import_module(
            ".".join(("facepass.streams", *file.relative_to(STREAMS).with_suffix("").parts))
        )
        for one in tree.body:
            if isinstance(one, ast.ClassDef):
                known = known_to_library(getattr(module, one.name))
                for name in (private_names(one, of_self=True) | defined(one)) & known:
                    yield name, file


def test_every_private_name_that_is_touched_is_listed_and_no_other() -> None:
    found = list(touched())
    assert {file.parent.name for _, file in found} == {"kafka"}, "they are to stay in one room"
    document = offset_tracking.__doc__ or ""
    listed = set(re.findall(r"`(_\w+)`", document[document.index("Private names") :]))
    assert listed == {name for name, _ in found}


@pytest.mark.parametrize("library", ["faust-streaming", "aiokafka", "uvicorn", "h11"])
def test_what_is_installed_is_a_version_whose_private_names_were_looked_at(library: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [one for one in map(Requirement, project["dependencies"]) if one.name == library]
    assert any(one.operator == "<" for one in wanted.specifier), f"{library} has no upper bound in pyproject.toml"
    assert wanted.specifier.contains(version(library)), (
        f"{library} {version(library)} is installed, pyproject.toml has {wanted.specifier}: its private names that"
        " are touched may mean something else by now. Look at them, run the tests on both brokers, move the bound"
    )
