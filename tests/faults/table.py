"""The table of what must come out, kept by whoever publishes. It knows the rules of the events and nothing of
how FacePass follows them: fences only rise, at equal times the deletion wins, of a photo's events the newest
counts."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from faults.pictures import Picture

ABSENT = "absent"
"""No row: only its deletion was published, or the deletion came first and fenced it."""

Key = tuple[str, str]
"""(session_id, photo_id)"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a photo may end as: a photo state (or ABSENT), with the picture that decides its faces."""

    state: str
    picture: Picture | None = None

    @property
    def people(self) -> frozenset[str]:
        return self.picture.people if self.picture and self.state == "indexed" else frozenset()


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a record went."""

    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Table:
    """Everything that was published, and what follows from it.

    Attributes:
        indexed: (session, photo) to its photo events: when each occurred, of which picture, its records.
        photo_fences, session_fences: the newest deletion of each.
        deletions: every deletion: whose (photo None: of the session), when, and its record.
        poison: records that must end on the dead letters, with the codes that may stand there.
    """

    indexed: dict[Key, list[tuple[datetime, Picture, list[Sent]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    photo_fences: dict[Key, datetime] = field(default_factory=dict)
    session_fences: dict[str, datetime] = field(default_factory=dict)
    deletions: list[tuple[str, str | None, datetime, Sent]] = field(default_factory=list)
    poison: dict[Sent, frozenset[str]] = field(default_factory=dict)

    def photo_indexed(self, key: Key, at: datetime, picture: Picture, sent: Iterable[Sent]) -> None:
        self.indexed[key].append((at, picture, list(sent)))

    def photo_deleted(self, key: Key, at: datetime, sent: Iterable[Sent]) -> None:
        self.photo_fences[key] = max(at, self.photo_fences.get(key, at))
        self.deletions += [(*key, at, record) for record in sent]

    def session_deleted(self, session: str, at: datetime, sent: Iterable[Sent]) -> None:
        self.session_fences[session] = max(at, self.session_fences.get(session, at))
        self.deletions += [(session, None, at, record) for record in sent]

    @property
    def photos(self) -> list[Key]:
        return sorted(set(self.indexed) | set(self.photo_fences))

    @property
    def sessions(self) -> list[str]:
        return sorted({session for session, _ in self.photos} | set(self.session_fences))

    def fence(self, key: Key) -> datetime | None:
        fences = [
            fence for fence in (self.photo_fences.get(key), self.session_fences.get(key[0])) if fence is not None
        ]
        return max(fences, default=None)

    def outcomes(self, key: Key) -> tuple[Outcome, ...]:
        """What the photo may end as, once everything was consumed, in whatever order and however often."""
        events, fence = self.indexed.get(key, []), self.fence(key)
        newest = max((at for at, _, _ in events), default=None)
        if newest is None or (fence is not None and newest <= fence):
            return (Outcome("deleted"), Outcome(ABSENT))
        return tuple(Outcome(picture.state, picture) for at, picture, _ in events if at == newest)

    def people_in(self, session: str) -> dict[str, frozenset[str]]:
        """photo_id to the people a search of the session must find on it."""
        return {
            photo: outcome.people
            for at, photo in self.photos
            if at == session and (outcome := self.outcomes((at, photo))[0]).people
        }
