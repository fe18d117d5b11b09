"""The command `facepass bench`: the benchmark lies beside this package in the source tree, in no installed one."""

from pathlib import Path

import typer

import facepass
from facepass.schemas.errors import ErrorCode, PermanentError

_TREE = Path(facepass.__file__).parents[1]
"""Where `bench` lies, if this is the source tree and not a folder of installed packages."""


def add_bench(app: typer.Typer, tree: Path = _TREE) -> None:
    """Add the benchmark's own command; where there is no benchmark, one that says so whatever it is told."""
    if (tree / "bench" / "__init__.py").is_file() and (tree / "pyproject.toml").is_file():
        from bench import bench

        app.command()(bench)
    else:
        anything = {"allow_extra_args": True, "ignore_unknown_options": True}
        app.command("bench", context_settings=anything)(_absent)


def _absent() -> None:
    """Measure FacePass beside the bare libraries that it is made of; needs the source tree."""
    raise PermanentError(
        ErrorCode.INVALID_SETTING,
        "facepass bench needs the source tree, which an installed package is not: run make bench in a checkout",
    )
