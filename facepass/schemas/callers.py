"""The callers of the HTTP API: the scopes of a key, and what is known of a caller whose key is valid."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """A use that a key may be put to."""

    INDEX = "index"
    """Index and delete photos and sessions; legacy uploads and event creation."""
    READ = "read"
    """Lists of photos, explanations of a match, and everything a guest may see."""
    ADMIN = "admin"
    """Everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A caller with a valid key.

    Attributes:
        key_id: names the key in logs and counters; it is no secret.
        name: what the operator called the key.
    """

    key_id: str
    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """True if the key has this scope, by itself or as `admin`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes
