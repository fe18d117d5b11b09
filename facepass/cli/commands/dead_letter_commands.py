"""The commands `facepass dead-letters`: which letters are meant, by ids or by options."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from facepass.streams.dead_letters import Selection

dead_letters = typer.Typer(
    help="Events that were given up: why, and what to do with them: replay or discard.", no_args_is_help=True
)

Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids of letters, partition:offset, as `show` prints them.", metavar="ID")
]
Code = Annotated[str | None, typer.Option(help="Letters with this error code.")]
Topic = Annotated[str | None, typer.Option(help="Letters of events that came from this topic.")]
Session = Annotated[str | None, typer.Option(help="Letters of this session.")]
Photo = Annotated[str | None, typer.Option(help="Letters of this photo.")]
Since = Annotated[
    str | None, typer.Option(help="Letters from then on: 2026-05-09T12:30:00Z, or ago: 90s, 30m, 2h, 3d.")
]
Everything = Annotated[bool, typer.Option("--all", help="Every open letter.")]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dead_letters.command("list")
def list_dead_letters() -> None:
    """Count the open letters by cause: error code and the topic that the events came from."""
    from facepass.cli.operating import list_dead_letters as run

    asyncio.run(run())


@dead_letters.command("show")
def show_dead_letters(
    ids: Ids = None,
    *,
    code: Code = None,
    topic: Topic = None,
    session: Session = None,
    photo: Photo = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Letters shown at most.")] = 20,
) -> None:
    """Print open letters: why each was given up, where its event came from, its headers, its ids."""
    from facepass.cli.operating import show_dead_letters as run

    asyncio.run(
        run(_selection(ids=ids, code=code, topic=topic, session=session, photo=photo, since=since), limit=limit)
    )


@dead_letters.command("replay")
def replay_dead_letters(
    ids: Ids = None,
    *,
    code: Code = None,
    topic: Topic = None,
    session: Session = None,
    photo: Photo = None,
    since: Since = None,
    everything: Everything = False,
) -> None:
    """Publish events again, as they came and where they came from, and count their letters as handled.

    Mend the cause first: an event that fails again becomes a new letter. To replay one twice changes nothing.
    """
    from facepass.cli.operating import replay_dead_letters as run

    selection = _selection(ids=ids, code=code, topic=topic, session=session, photo=photo, since=since)
    _demand_a_choice(selection, everything=everything)
    asyncio.run(run(selection))


@dead_letters.command("discard")
def discard_dead_letters(
    ids: Ids = None,
    *,
    code: Code = None,
    topic: Topic = None,
    session: Session = None,
    photo: Photo = None,
    since: Since = None,
    everything: Everything = False,
) -> None:
    """Count letters as handled without publishing anything. They stay in their topic as long as it is kept."""
    from facepass.cli.operating import discard_dead_letters as run

    selection = _selection(ids=ids, code=code, topic=topic, session=session, photo=photo, since=since)
    _demand_a_choice(selection, everything=everything)
    asyncio.run(run(selection))


def read_since(text: str, now: datetime) -> datetime:
    """A point in time: RFC 3339 with its zone, or how long ago."""
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text, re.ASCII):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        since = datetime.fromisoformat(text)
    except ValueError:
        since = None
    if since is None or since.tzinfo is None:
        raise typer.BadParameter(
            f"--since: {text!r} is neither a time with its zone (2026-05-09T12:30:00Z) nor 2h"
        )
    return since


def _selection(
    *,
    ids: list[str] | None,
    code: str | None,
    topic: str | None,
    session: str | None,
    photo: str | None,
    since: str | None,
) -> "Selection":
    from facepass.streams.dead_letters import Selection, parse_dead_letter_id

    return Selection(
        ids=frozenset(parse_dead_letter_id(one) for one in ids or ()),
        code=code,
        topic=topic,
        session_id=session,
        photo_id=photo,
        since=None if since is None else read_since(since, datetime.now(UTC)),
    )


def _demand_a_choice(selection: "Selection", *, everything: bool) -> None:
    """An empty selection means every letter; that has to be said."""
    if (selection == type(selection)()) != everything:
        raise typer.BadParameter("say which letters: ids or options; or --all, and nothing else, for every one")
