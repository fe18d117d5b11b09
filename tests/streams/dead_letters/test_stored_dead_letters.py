"""Which dead letters are open, in a few bytes each."""

from datetime import UTC, datetime

import pytest

from facepass.schemas.errors import PermanentError
from facepass.schemas.ledger import Origin
from facepass.streams.dead_letters.stored_dead_letters import (
    DeadLetterId,
    OpenDeadLetters,
    parse_dead_letter_id,
    read_dead_letter,
)
from facepass.streams.kafka.records import Record

NAMES = ("topic", "partition", "offset", "occurred-at", "error-code", "error-text")
VALUES = (b"photo-indexed", b"0", b"5", b"2026-05-09T12:30:00+00:00", b"invalid_id", b"why")
HEADERS = tuple((f"facepass-{name}", value) for name, value in zip(NAMES, VALUES, strict=True))


def record(
    offset: int,
    *,
    partition: int = 0,
    headers: tuple[tuple[str, bytes], ...] = HEADERS,
    key: bytes | None = None,
    seconds: int = 1000,
) -> Record:
    return Record(
        origin=Origin(topic="facepass-dead-letters", partition=partition, offset=offset),
        value=b"",
        key=key,
        headers=headers,
        recorded_at=datetime.fromtimestamp(seconds, UTC),
    )


def mark(offset: int, letter: str) -> Record:
    return record(offset, headers=(("facepass-handled", b"replayed"),), key=letter.encode())


def at(offset: int, partition: int = 0) -> DeadLetterId:
    return DeadLetterId(partition=partition, offset=offset)


def test_marks_close_letters_once() -> None:
    letters = OpenDeadLetters()
    letters.add([record(5, seconds=30), record(6, seconds=40), record(5, partition=1, seconds=35)])
    assert (letters.count, letters.oldest()) == (3, 30)
    letters.add([mark(7, "0:5"), mark(8, "0:5"), mark(9, "0:99"), mark(10, "0:7"), mark(11, "9:9"), mark(12, "x")])
    assert (letters.count, letters.oldest()) == (2, 35)
    assert [letters.is_open(one) for one in (at(5), at(6), at(7), at(4), at(5, 1), at(5, 9))] == [
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    letters.add([record(20, seconds=50)])
    assert (letters.count, letters.is_open(at(20)), letters.is_open(at(19))) == (3, True, False)


def test_a_record_read_twice_counts_once() -> None:
    letters = OpenDeadLetters()
    letters.add([record(5), record(6), mark(7, "0:5")])
    letters.add([record(5), record(6)])
    assert (letters.count, letters.is_open(at(5))) == (1, False)


def test_what_the_topic_dropped_is_not_open() -> None:
    letters = OpenDeadLetters()
    letters.add([record(offset, seconds=offset) for offset in range(10, 20)])
    letters.forget_before(0, 15)
    letters.forget_before(0, 12)
    letters.forget_before(3, 12)
    assert (letters.count, letters.oldest(), letters.is_open(at(14)), letters.is_open(at(15))) == (
        5,
        15,
        False,
        True,
    )
    letters.forget_before(0, 100)
    assert (letters.count, letters.oldest()) == (0, None)
    letters.add([record(100, seconds=7)])
    assert (letters.count, letters.oldest()) == (1, 7)


def test_only_complete_sets_of_headers_are_letters() -> None:
    assert read_dead_letter(record(5)) is not None
    for missing in range(len(HEADERS)):
        assert read_dead_letter(record(5, headers=HEADERS[:missing] + HEADERS[missing + 1 :])) is None
    letters = OpenDeadLetters()
    letters.add([record(5, headers=(("facepass-handled", b"replayed"), *HEADERS), key=b"0:4")])
    assert letters.count == 1, "an event may come with any header"


@pytest.mark.parametrize("text", ["", "1", "1:", ":1", "a:1", "1:-1", "1:2:3", "1:²", "١:1"])
def test_ids_are_partition_and_offset(text: str) -> None:
    with pytest.raises(PermanentError, match="partition:offset"):
        parse_dead_letter_id(text)
    assert parse_dead_letter_id("3:1271") == DeadLetterId(partition=3, offset=1271)
