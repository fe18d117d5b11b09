"""Compares the table of what must come out with plain SQL, plain Kafka reads and HTTP answers.

It imports nothing of FacePass: what it knows of the tables and topics it knows from the migrations, so a mistake
of the product cannot hide in code that both share.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import httpx
import numpy as np
import psycopg
from aiokafka import TopicPartition
from faults.pictures import Picture
from faults.reading import GROUPS, Reader, Vectors
from faults.table import ABSENT, Sent, Table
from faults.waiting import wait_for

STATES = ("pending", "indexed", "no_face", "filtered", "failed", "deleted")
ALIKE = 0.999
"""The least cosine between a stored vector and that of a clean run: equal, in the words of invariant 2."""
SCORE_BAND = 2e-3
"""The query is known only as stored, in half precision; closer to a bound than this nothing is claimed."""
MATCH = 0.7
"""The similarity that the operating point of a model maps to."""


@dataclass(slots=True)
class Verifier(Reader):
    """Attributes:
    reference: s3_key to the vectors of a clean run, shape (faces, size), each row normalised.
    """

    pictures: Mapping[str, Picture]
    reference: dict[str, Vectors] = field(default_factory=dict)

    # the clean run ----------------------------------------------------------------------------------------

    def learn(self, session: str) -> None:
        """Take the vectors of a session indexed without faults, whose photos are named after their pictures."""
        faces = self.faces([session])
        for name, picture in self.pictures.items():
            vectors = faces.get((session, name), [])
            assert len(vectors) == len(picture.people), (
                f"{name}: {len(vectors)} faces, {len(picture.people)} people"
            )
            if vectors:
                self.reference[picture.key] = np.array([vector for vector, _ in vectors])

    # waiting ----------------------------------------------------------------------------------------------

    def wait_until_settled(self, table: Table, within: float, *, also: Callable[[], str] = str) -> None:
        """Wait until every photo is as the table wants it and every record is committed."""
        wait_for(
            lambda: not self.unsettled(table),
            within,
            lambda: "\n".join([*self.unsettled(table)[:20], also()]),
            every=0.5,
        )

    def unsettled(self, table: Table) -> list[str]:
        return self._photos_amiss(table) + self.lag()

    def _photos_amiss(self, table: Table) -> list[str]:
        rows = self.rows(table.sessions)
        amiss = []
        for key in table.photos:
            row, wanted = rows.get(key), table.outcomes(key)
            found = (row.state if row else ABSENT, row.error if row else None)
            allowed = {(one.state, one.picture.code if one.picture else None) for one in wanted}
            if found not in allowed:
                amiss.append(f"{key}: is {found}, must be {allowed}")
        return amiss

    def lag(self) -> list[str]:
        """Records that a group has not committed."""
        ends, committed = self._patiently(self.positions)
        return [
            f"{group} has committed {committed[group].get(partition, 0)} of {end} in {partition}"
            for group, topics in GROUPS.items()
            for partition, end in ends.items()
            if partition.topic in topics and end > committed[group].get(partition, 0)
        ]

    def wait_for_fence(self, session: str, photo: str | None, within: float = 30.0) -> None:
        """Wait until a deletion is in the rows."""
        wait_for(lambda: (session, photo) in self.fences([session]), within, f"the fence of {session} {photo}")

    # the invariants ---------------------------------------------------------------------------------------

    def check(self, table: Table, *, dead_letters: bool = True) -> None:
        """Invariants 1, 2 and 5 at rest. Call after `wait_until_settled`."""
        amiss = self._photos_amiss(table) + self._faces_amiss(table)
        assert not amiss, "\n".join(amiss[:20])
        self.check_ledger()
        self.check_offsets(table)
        if dead_letters:
            self.check_dead_letters(table)

    def check_ledger(self) -> None:
        """Invariant 1, of every session, at any moment: one snapshot."""
        with self.snapshot() as connection:
            ledger = connection.execute(
                f"SELECT session_id, generation, {', '.join(STATES)}, photo_count, face_count"
                " FROM session_generations"
            ).fetchall()
            counted = connection.execute(
                "SELECT session_id, generation, state, count(*), count(*) FILTER (WHERE faces_stored > 0),"
                " coalesce(sum(faces_stored), 0) FROM photo_results GROUP BY 1, 2, 3"
            ).fetchall()
            stored = {
                (session, generation): faces
                for session, generation, faces in connection.execute(
                    "SELECT session_id, generation, count(*) FROM face_embeddings GROUP BY 1, 2"
                )
            }
            orphans = connection.execute(
                "SELECT f.session_id, f.photo_id, r.state, count(*), max(r.faces_stored)"
                " FROM face_embeddings AS f LEFT JOIN photo_results AS r USING (generation, session_id, photo_id)"
                " GROUP BY f.generation, f.session_id, f.photo_id, r.state"
                " HAVING r.state IS NULL OR r.state NOT IN ('indexed', 'pending')"
                " OR count(*) <> max(r.faces_stored) LIMIT 10"
            ).fetchall()
        recount: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        for session, generation, state, photos, with_faces, faces in counted:
            recount[session, generation].update(
                {state: photos, "photo_count": with_faces, "face_count": int(faces)}
            )
        amiss = [f"faces of a photo that has none: {orphan}" for orphan in orphans]
        for session, generation, *numbers in ledger:
            told = dict(zip((*STATES, "photo_count", "face_count"), numbers, strict=True))
            found = recount.pop((session, generation), Counter())
            found.setdefault("face_count", 0)
            differing = {name: (told[name], found[name]) for name in told if told[name] != found[name]}
            if differing or told["face_count"] != stored.get((session, generation), 0):
                amiss.append(
                    f"ledger of {session}: (told, counted) {differing}, faces {stored.get((session, generation))}"
                )
        amiss += [f"no ledger for {session}" for session in recount]
        assert not amiss, "\n".join(amiss[:20])

    def _faces_amiss(self, table: Table) -> list[str]:
        """Invariant 2: who is on which photo, as in a clean run; nothing besides."""
        found, size = self.faces(table.sessions), self.vector_size()
        amiss = [f"faces of {key}, which the table does not know" for key in found if key not in set(table.photos)]
        for key in table.photos:
            faces = found.get(key, [])
            vectors = np.array([vector for vector, _ in faces]) if faces else np.empty((0, size))
            wanted = [one.picture for one in table.outcomes(key) if one.people and one.picture is not None]
            if not any(self._alike(vectors, picture) for picture in wanted) and (wanted or faces):
                amiss.append(f"{key}: {len(faces)} faces, not those of {[picture.key for picture in wanted]}")
            newest = max((at for at, _, _ in table.indexed.get(key, [])), default=None)
            if any(at != newest for _, at in faces):
                amiss.append(f"{key}: faces of {[at for _, at in faces]}, the newest event is of {newest}")
        return amiss

    def _alike(self, vectors: Vectors, picture: Picture) -> bool:
        reference = self.reference[picture.key]
        if vectors.shape != reference.shape or not np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3):
            return False
        near = vectors @ reference.T >= ALIKE
        return bool(near.any(axis=0).all() and near.any(axis=1).all())

    def check_offsets(self, table: Table) -> None:
        """Invariant 5, at any moment: what a group has committed has an outcome, in a row or as a dead letter."""
        _, committed = self._patiently(self.positions)  # before the rows, which only move on
        rows, fences, letters = self.rows(table.sessions), self.fences(table.sessions), self.dead_letters()
        buried = {letter.origin for letter in letters}

        def past(group: str, sent: Sent) -> bool:
            return sent.offset < committed[group].get(TopicPartition(sent.topic, sent.partition), 0)

        amiss = []
        for key, events in list(table.indexed.items()):
            row, fence = rows.get(key), _later(fences.get((key[0], None)), fences.get(key))
            for at, _, records in events:
                fenced = fence is not None and fence >= at
                registered = fenced or (row is not None and row.occurred_at is not None and row.occurred_at >= at)
                done = fenced or (
                    registered
                    and row is not None
                    and (row.occurred_at != at or row.state != "pending" or row.attempts > 0)
                )
                amiss += [
                    f"{group} committed past {record} of {key}: {row}"
                    for group, settled in (("facepass-intake", registered), ("facepass-ingest", done))
                    for record in records
                    if not settled and record not in buried and past(group, record)
                ]
        for session, photo, at, record in list(table.deletions):
            fence = fences.get((session, photo))
            if past("facepass-intake", record) and (fence is None or fence < at):
                amiss.append(
                    f"facepass-intake committed past {record}, the deletion of {session} {photo}: {fence}"
                )
        for record in list(table.poison):
            if past("facepass-intake", record) and record not in buried:
                amiss.append(f"facepass-intake committed past {record}, which is not on the dead letters")
        assert not amiss, "\n".join(amiss[:20])

    def check_dead_letters(self, table: Table) -> None:
        """Every poison is there with a code of its own; so is the last event of every failed photo; no other."""
        letters = self.dead_letters()
        by_origin = {letter.origin: letter for letter in letters}
        amiss = [
            f"{record}: {by_origin[record].code if record in by_origin else 'no dead letter'}, not of {set(codes)}"
            for record, codes in table.poison.items()
            if record not in by_origin or by_origin[record].code not in codes
        ]
        failing: set[Sent] = set()
        for key, events in list(table.indexed.items()):
            failing |= {record for _, picture, records in events if picture.code for record in records}
            for outcome in table.outcomes(key):
                wanted = {r for _, picture, records in events if picture is outcome.picture for r in records}
                if outcome.state == "failed" and not wanted & set(by_origin):
                    amiss.append(f"{key} has failed without a dead letter")
        known = {record for events in table.indexed.values() for _, _, records in events for record in records}
        amiss += [
            f"{letter.origin} is no failure but on the dead letters: {letter.code}"
            for letter in letters
            if letter.origin in known and letter.origin not in failing
        ]
        assert not amiss, "\n".join(amiss[:20])

    # searches ---------------------------------------------------------------------------------------------

    def check_searches(
        self, url: str, table: Table, *, selfie: str, within: float = 20.0, sessions: Iterable[str] | None = None
    ) -> None:
        """Invariants 3, 4 and 7: answers equal the computation from the rows; waits for a replica that follows."""
        for session in table.sessions if sessions is None else sessions:
            for threshold in (0.0, MATCH):
                wait_for(
                    lambda s=session, t=threshold: not self.search_amiss(url, s, selfie, t),  # type: ignore[misc]
                    within,
                    lambda s=session, t=threshold: f"{s}: {self.search_amiss(url, s, selfie, t)}",  # type: ignore[misc]
                )
        # A shard that went wrong would be dropped, and so be right by now.
        metrics = httpx.get(f"{url}/metrics").text
        assert "shard_mismatches_total 0.0" in metrics, "the replica has found a shard of its own that was wrong"

    def search_amiss(self, url: str, session: str, selfie: str, threshold: float) -> str | None:
        """What is wrong with one answer; None when it is exact."""
        answer = self.search(url, session, selfie, threshold=threshold)
        wanted = self.exact(session, selfie)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return "404, but there are faces" if wanted else None
        if answer.status_code != httpx.codes.OK:
            return f"{answer.status_code}: {answer.text[:300]}"
        body = answer.json()
        found = {match["photo_id"]: match["cosine"] for match in body["matches"]}
        least = self._cosine_at(threshold)
        must = {photo for photo, cosine in wanted.items() if cosine >= least + SCORE_BAND}
        may = {photo for photo, cosine in wanted.items() if cosine >= least - SCORE_BAND}
        scores = [match["similarity"] for match in body["matches"]]
        if not must <= set(found) <= may:
            return f"missing {sorted(must - set(found))[:5]}, too many {sorted(set(found) - may)[:5]}"
        if len(found) != len(body["matches"]) or scores != sorted(scores, reverse=True):
            return "a photo twice, or not best first"
        if any(abs(cosine - wanted[photo]) > SCORE_BAND for photo, cosine in found.items()):
            return "a score that the rows do not give"
        return None if len(must) <= body["total_matches"] <= len(may) else f"total_matches {body['total_matches']}"

    def search(
        self, url: str, session: str, selfie: str, *, threshold: float = MATCH, timeout: float = 15.0
    ) -> httpx.Response:
        data = self.pictures[selfie].data
        assert data is not None
        return httpx.post(
            f"{url}/api/v1/search",
            data={"session_id": session, "threshold": str(threshold), "limit": "1000"},
            files={"file": ("selfie.jpg", data, "image/jpeg")},
            timeout=timeout,
        )

    def exact(self, session: str, selfie: str) -> dict[str, float]:
        """photo_id to the best cosine of its faces, computed from the rows."""
        query = self.reference[self.pictures[selfie].key][0]
        return {
            photo: max(float(np.clip(vector @ query, -1, 1)) for vector, _ in faces)
            for (_, photo), faces in self.faces([session]).items()
        }

    def _cosine_at(self, similarity: float) -> float:
        with psycopg.connect(self.database()) as connection:
            row = connection.execute("SELECT operating_point FROM generations WHERE state = 'active'").fetchone()
        assert row is not None
        at_match = float(row[0])
        if similarity <= MATCH:
            return similarity / MATCH * (at_match + 1) - 1
        return at_match + (similarity - MATCH) / (1 - MATCH) * (1 - at_match)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((fence for fence in (one, other) if fence is not None), default=None)
