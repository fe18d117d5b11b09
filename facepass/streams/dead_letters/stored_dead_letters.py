"""Dead letters as they lie in their topic, and which of them are still open.

One that was replayed or discarded stays where it is. A small record behind it, in the same partition, says what
was done: its key is the dead letter's id, its value empty, the word stands in its header `facepass-handled`.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic_core import from_json

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.ledger import Origin
from facepass.streams.kafka import Headers, Record

HANDLED_HEADER = "facepass-handled"

_NEEDED = frozenset(
    f"facepass-{name}" for name in ("topic", "partition", "offset", "occurred-at", "error-code", "error-text")
)
_OURS = _NEEDED | {"facepass-rebuilt", "facepass-value-omitted"}


class Handled(StrEnum):
    """The word for what was done with a dead letter."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class DeadLetterId:
    """The place of a dead letter in its topic; written as partition:offset."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A dead letter as it lies in its topic.

    Attributes:
        value, key, headers: the event as it came; `headers` without those that the dead letter got.
        origin: where it came from.
        occurred_at: as resolved when it was given up.
        given_up_at: the dead letter's own timestamp.
        rebuilt: made from the photo's row.
        complete: whether `value` is there; one that was too large for a dead letter is in the origin's topic only.
        session_id, photo_id: of an event that names them, else None.
    """

    id: DeadLetterId
    value: bytes | None
    key: bytes | None
    headers: Headers
    origin: Origin
    occurred_at: datetime
    given_up_at: datetime
    code: str
    text: str
    rebuilt: bool
    complete: bool
    session_id: str | None
    photo_id: str | None


def parse_dead_letter_id(text: str) -> DeadLetterId:
    """Read partition:offset.

    Raises:
        PermanentError: `invalid_parameter`.
    """
    if (found := _dead_letter_id(text)) is None:
        raise PermanentError(
            ErrorCode.INVALID_PARAMETER,
            f"{text!r} is no dead letter's id: that is partition:offset, such as 3:1271",
        )
    return found


def is_dead_letter(record: Record) -> bool:
    """True if a record of the topic is a dead letter: neither a mark of ours nor a record of somebody else's."""
    return {name for name, _ in record.headers} >= _NEEDED


def read_dead_letter(record: Record) -> StoredDeadLetter | None:
    """The dead letter in a record; None when there is none."""
    ours: dict[str, str] = {}
    theirs: list[tuple[str, bytes]] = []
    # Ours are the last ones of their names: an event may have come with headers of the same names.
    for name, value in reversed(record.headers):
        if name in _OURS and name not in ours:
            ours[name] = value.decode(errors="replace")
        else:
            theirs.append((name, value))
    if not ours.keys() >= _NEEDED:
        return None
    session_id, photo_id = _ids(record.value)
    return StoredDeadLetter(
        id=DeadLetterId(partition=record.origin.partition, offset=record.origin.offset),
        value=record.value,
        key=record.key,
        headers=theirs[::-1],
        origin=Origin(
            topic=ours["facepass-topic"],
            partition=int(ours["facepass-partition"]),
            offset=int(ours["facepass-offset"]),
        ),
        occurred_at=datetime.fromisoformat(ours["facepass-occurred-at"]),
        given_up_at=record.recorded_at,
        code=ours["facepass-error-code"],
        text=ours["facepass-error-text"],
        rebuilt="facepass-rebuilt" in ours,
        complete="facepass-value-omitted" not in ours,
        session_id=session_id,
        photo_id=photo_id,
    )


@dataclass(slots=True)
class _Partition:
    """The times when open ones were given up, seconds since 1970, by offset less `first`; 0 where none is open."""

    first: int
    times: "array[int]" = field(default_factory=lambda: array("Q"))


class OpenDeadLetters:
    """The open dead letters, in eight bytes a record. Feed it the topic's records, each partition's in order."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self.count = 0

    def add(self, records: Iterable[Record]) -> None:
        """Take dead letters as open, and what marks some as handled; pass over anything else."""
        for record in records:
            if is_dead_letter(record):
                self._open(record)
            elif (handled := _handled(record)) is not None and self.is_open(handled):
                partition = self._partitions[handled.partition]
                partition.times[handled.offset - partition.first] = 0
                self.count -= 1

    def is_open(self, letter: DeadLetterId) -> bool:
        """True if it is a dead letter that was neither replayed nor discarded."""
        partition = self._partitions.get(letter.partition)
        if partition is None or not 0 <= letter.offset - partition.first < len(partition.times):
            return False
        return partition.times[letter.offset - partition.first] > 0

    def oldest(self) -> float | None:
        """The time at which the oldest open one was given up, seconds since 1970; None when none is open."""
        for partition in self._partitions.values():
            closed = next((at for at, time in enumerate(partition.times) if time), len(partition.times))
            del partition.times[:closed]
            partition.first += closed
        return min((one.times[0] for one in self._partitions.values() if one.times), default=None)

    def forget_before(self, number: int, begin: int) -> None:
        """Let go of what the topic no longer holds: offsets of partition `number` below `begin`."""
        partition = self._partitions.get(number)
        if partition is None or begin <= partition.first:
            return
        gone = partition.times[: begin - partition.first]
        self.count -= len(gone) - gone.count(0)
        del partition.times[: len(gone)]
        partition.first = begin

    def _open(self, record: Record) -> None:
        offset = record.origin.offset
        partition = self._partitions.setdefault(record.origin.partition, _Partition(first=offset))
        missing = offset - partition.first - len(partition.times)
        if missing >= 0:
            partition.times.extend([0] * missing)
            partition.times.append(max(1, int(record.recorded_at.timestamp())))
            self.count += 1


def _handled(record: Record) -> DeadLetterId | None:
    marked = any(name == HANDLED_HEADER for name, _ in record.headers)
    return _dead_letter_id((record.key or b"").decode(errors="replace")) if marked else None


def _dead_letter_id(text: str) -> DeadLetterId | None:
    partition, _, offset = text.partition(":")
    if not (text.isascii() and partition.isdigit() and offset.isdigit()):
        return None
    return DeadLetterId(partition=int(partition), offset=int(offset))


def _ids(value: bytes | None) -> tuple[str | None, str | None]:
    """Session and photo of an event, as far as it is JSON and names them."""
    try:
        fields = from_json(value or b"")
    except ValueError:
        return None, None
    if not isinstance(fields, dict):
        return None, None
    session_id, photo_id = (
        str(found) if type(found := fields.get(name)) in {str, int} else None
        for name in ("session_id", "photo_id")
    )
    return session_id, photo_id
