"""The work and the output of `facepass dead-letters`."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from facepass.schemas.settings import KafkaSettings, read_settings
from facepass.streams.dead_letters import (
    Handled,
    Selection,
    StoredDeadLetter,
    handle_dead_letters,
    read_open_dead_letters,
)
from facepass.streams.kafka import open_publisher

_Cause = tuple[str, str]
"""Error code, and the topic that the events came from."""

_MAX_HEADER = 200
"""Bytes of a foreign header that are shown."""


async def list_dead_letters() -> None:
    """Print the open letters by cause, the most frequent first.

    Raises:
        TransientError: `broker_unavailable`, `topic_missing`.
    """
    counts: Counter[_Cause] = Counter()
    oldest: dict[_Cause, datetime] = {}
    async for letters in read_open_dead_letters(read_settings(KafkaSettings), Selection()):
        for letter in letters:
            cause = (letter.code, letter.origin.topic)
            counts[cause] += 1
            oldest[cause] = min(oldest.get(cause, letter.given_up_at), letter.given_up_at)
    if counts:
        _print_causes(counts, oldest)
    else:
        print("no open dead letters")


async def show_dead_letters(selection: Selection, *, limit: int) -> None:
    """Print letters, the header's bytes and the ids alone of what the events say.

    Raises: as `read_open_dead_letters`.
    """
    shown = 0
    async for letters in read_open_dead_letters(read_settings(KafkaSettings), selection):
        for letter in letters:
            if shown == limit:
                print(f"… and more; the first {limit} are shown (--limit)")
                return
            shown += 1
            _print_letter(letter)
    if not shown:
        print("no open dead letters are meant")


async def replay_dead_letters(selection: Selection) -> None:
    """Publish the events again, and mark their letters.

    Raises: as `read_open_dead_letters` and `handle_dead_letters`.
    """
    await _handle(selection, Handled.REPLAYED)


async def discard_dead_letters(selection: Selection) -> None:
    """Mark letters as discarded.

    Raises: as `read_open_dead_letters` and `handle_dead_letters`.
    """
    await _handle(selection, Handled.DISCARDED)


async def _handle(selection: Selection, how: Handled) -> None:
    kafka = read_settings(KafkaSettings)
    handled = left = 0
    async with open_publisher(kafka) as publisher:
        async for letters in read_open_dead_letters(kafka, selection):
            count = await handle_dead_letters(publisher, letters, how)
            handled, left = handled + count, left + len(letters) - count
    print(f"{how} {handled} dead letters")
    if left:
        print(
            f"{left} cannot be replayed: the events were too large for a letter; their topics may still hold them"
        )


def _print_causes(counts: Counter[_Cause], oldest: Mapping[_Cause, datetime]) -> None:
    now = datetime.now(UTC)
    print(f"{'count':>8}  {'code':<22}  {'topic':<16}  oldest")
    for (code, topic), count in counts.most_common():
        print(f"{count:>8}  {code:<22}  {topic:<16}  {_age(oldest[code, topic], now)}")
    print(f"{counts.total():>8}  in all")


def _print_letter(letter: StoredDeadLetter) -> None:
    origin = letter.origin
    rows = {
        "code": letter.code,
        "why": letter.text,
        "given up": letter.given_up_at.isoformat(timespec="seconds"),
        "from": f"{origin.topic}[{origin.partition}]@{origin.offset}" + (", rebuilt" if letter.rebuilt else ""),
        "occurred": letter.occurred_at.isoformat(),
        "session": letter.session_id,
        "photo": letter.photo_id,
        "key": letter.key,
        "size": f"{len(letter.value or b'')} bytes" if letter.complete else "too large for a letter",
    }
    print(f"{letter.id}")
    for name, value in rows.items():
        if value is not None:
            print(f"  {name:<10}{_printable(value)}")
    for header, content in letter.headers:
        print(f"  header    {_printable(header)}: {_printable(content[:_MAX_HEADER])}")


def _printable(value: str | bytes) -> str:
    """Text that cannot command a terminal: whoever may publish may put anything into ids and headers."""
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _age(then: datetime, now: datetime) -> str:
    age = timedelta(seconds=round((now - then).total_seconds()))
    return f"{age} ago ({then.isoformat(timespec='seconds')})"
