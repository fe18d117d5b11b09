"""The source documents' properties that this version has: each number must have at least one test."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]

FINISHED = {
    "1",
    "2",
    "3a",
    "3b",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "10",
    "11",
    "12",
    "13",
    "14",
    "15",
    "16",
    "17",
    "18",
    "19",
    "20",
    "21",
    "22",
}
"""Numbers of the properties whose part of the system exists."""

_MARKED = re.compile(r'@pytest\.mark\.property\("?(\d+[ab]?)"?\)\n(?:@.*\n|[ )\]].*\n)*(?:async )?def (test_\w+)')


def test_every_property_of_a_finished_part_has_a_test_that_names_it() -> None:
    marked = {
        number
        for file in (*TESTS.rglob("test_*.py"), *TESTS.rglob("fault_*.py"))
        for number, name in _MARKED.findall(file.read_text())
        if f"property_{number}_" in name
    }
    assert FINISHED - marked == set()
