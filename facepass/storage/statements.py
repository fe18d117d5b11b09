"""The named statements of `sql/`: one file a topic, one comment a statement."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_HEAD = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load_statements(topic: str) -> Mapping[str, str]:
    """The statements of `sql/{topic}.sql` by name.

    A statement begins with a line `-- name: …`, followed by one comment and the SQL.

    Raises:
        ValueError: two statements of one name, or text before the first name.
    """
    text = (files("facepass.storage") / "sql" / f"{topic}.sql").read_text("utf-8")
    before, *parts = _HEAD.split(text)
    names = parts[::2]
    if before.strip() or len(set(names)) != len(names):
        raise ValueError(f"{topic}.sql: text before the first name, or a name used twice")
    return MappingProxyType({name: body.strip() for name, body in zip(names, parts[1::2], strict=True)})
