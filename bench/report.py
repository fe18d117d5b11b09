"""The benchmark's table for people."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.row import Row

_VERDICTS = {True: "met", False: "missed", None: ""}
_STYLES = {True: "green", False: "bold red", None: ""}


_FILE_COLUMNS = 160
"""Width where no terminal says its own: in a pipe or a file."""


def wide_console(*, stderr: bool = False) -> Console:
    """A console that does not fold its lines at 80 columns when it writes into a file."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_FILE_COLUMNS)


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print all rows, then the note of each by its number."""
    table = Table(show_lines=False, header_style="bold")
    for heading in ("", "measured", "ours", "bare", "unit", "ratio", "goal", ""):
        table.add_column(heading, justify="right" if heading in {"", "ours", "bare", "ratio"} else "left")
    for number, row in enumerate(rows, 1):
        verdict = "skipped" if row.ours is None else _VERDICTS[row.met]
        figures = (_figure(row.ours), _figure(row.bare), row.unit, _figure(row.ratio))
        goal = row.goal.text if row.goal else ""
        table.add_row(str(number), escape(row.name), *figures, goal, verdict, style=_STYLES[row.met])
    console.print(table)
    console.print("ratio = ours / bare. Notes:")
    for number, row in enumerate(rows, 1):
        console.print(f"{number:>3}  {escape(row.note)}", highlight=False)


def to_markdown(rows: Sequence[Row]) -> str:
    """The same table for a document."""
    lines = ["| measured | ours | bare | unit | ratio | goal | |", "|---|---:|---:|---|---:|---|---|"]
    for row in rows:
        verdict = "skipped" if row.ours is None else _VERDICTS[row.met]
        goal = row.goal.text.replace("<", "&lt;").replace(">", "&gt;") if row.goal else ""
        figures = f"{_figure(row.ours)} | {_figure(row.bare)} | {row.unit} | {_figure(row.ratio)}"
        lines.append(f"| {row.name} | {figures} | {goal} | {verdict} |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    """Three significant digits, without an exponent."""
    if value is None:
        return "-"
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    decimals = min(5, max(0, 2 - magnitude))
    return f"{value:,.{decimals}f}"
