"""The findings of `facepass verify`: two places that should say the same and do not."""

from dataclasses import dataclass
from enum import StrEnum


class Compared(StrEnum):
    """A thing that is compared with the rows that the events should have left."""

    LEDGER = "ledger"
    TOPICS = "topics"
    SHARDS = "shards"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference. Holds ids, numbers and times; never a vector.

    Attributes:
        compared: which comparison found it.
        where: the place: a session, a photo, a record, a replica.
        what: which of its values.
        expected, found: the value as it should be, and as it is.
        remedy: what to do about it.
    """

    compared: Compared
    where: str
    what: str
    expected: str
    found: str
    remedy: str

    @property
    def key(self) -> tuple[Compared, str, str]:
        """A key: the same for the same difference seen twice, whatever the values were by then."""
        return self.compared, self.where, self.what
