"""Records that nobody can use: each ends on the dead letters, and none holds up its neighbours."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from faults.processes import INGEST, INTAKE
from faults.suite import Scene

_PHOTO = {"photo_id": "p", "session_id": "s", "s3_key": "k"}
_HOUR_AHEAD = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def _json(**fields: object) -> bytes:
    return json.dumps(_PHOTO | fields).encode()


INVALID, ID, AHEAD = {"invalid_event"}, {"invalid_id"}, {"occurred_at_ahead"}

POISON: dict[str, tuple[bytes | None, set[str]]] = {
    "no JSON": (b"{photo_id: 1}", INVALID),
    "half of it": (_json()[:-5], INVALID),
    "empty": (b"", INVALID),
    "null record": (None, INVALID),
    "JSON null": (b"null", INVALID),
    "a list": (b"[1, 2, 3]", INVALID),
    "a string": (b'"photo"', INVALID),
    "bytes that are no text": (bytes(range(256)), INVALID),
    "UTF-16": (_json().decode().encode("utf-16"), INVALID),
    "NaN": (b'{"photo_id": NaN}', INVALID | ID),
    "deep": (b"[" * 100_000 + b"]" * 100_000, INVALID),
    "one megabyte of nothing": (b'"' + b"x" * 1_000_000 + b'"', INVALID),
    "one megabyte of id": (_json(photo_id="x" * 1_000_000), ID),
    "one megabyte of key": (_json(s3_key="x" * 1_000_000), INVALID),
    "no photo": (json.dumps({"session_id": "s", "s3_key": "k"}).encode(), ID),
    "no session": (json.dumps({"photo_id": "p", "s3_key": "k"}).encode(), ID),
    "empty id": (_json(photo_id=""), ID),
    "256 characters": (_json(photo_id="x" * 256), ID),
    "NUL in an id": (_json(session_id="a\x00b"), ID),
    "NUL in a key": (_json(s3_key="a\x00b"), INVALID | {"invalid_s3_key"}),
    "half a surrogate": (b'{"photo_id": "\\ud800", "session_id": "s", "s3_key": "k"}', ID | INVALID),
    "id of a wrong type": (_json(photo_id=1.5), ID),
    "id is a list": (_json(session_id=["s"]), ID),
    "id is true": (_json(photo_id=True), ID),
    "key of a wrong type": (_json(s3_key=7), INVALID),
    "time of a wrong type": (_json(occurred_at=1700000000), INVALID),
    "time that is none": (_json(occurred_at="yesterday"), INVALID),
    "time without a zone": (_json(occurred_at="2026-01-01T00:00:00"), INVALID),
    "time ahead": (_json(occurred_at=_HOUR_AHEAD), AHEAD),
    "time beyond all years": (_json(occurred_at="9999-12-31T23:59:59-12:00"), INVALID | AHEAD),
}


@pytest.mark.timeout(600)
def test_poison_on_every_topic_between_good_events(scene: Scene) -> None:
    workers = scene.world.lasting(INTAKE, INGEST)
    driver, session = scene.driver, scene.session("good")
    for number, (value, codes) in enumerate(POISON.values()):
        for topic in ("photo-indexed", "photo-deleted", "session-deleted", "session-updated"):
            # a wrong photo id or key is of no concern to a topic that has none
            wrong_here = topic == "photo-indexed" or not _only_about_photos(value, topic)
            if wrong_here:
                driver.poison(topic, value, codes | ID | INVALID, key=f"{number}".encode())
        driver.index(session, f"photo-{number}", "lisa")
        if number % 5 == 0:
            driver.delete_photo((session, f"photo-{number}"))
    scene.settle(120)
    assert all(worker.running() for worker in workers), scene.tails()
    letters = {letter.origin: letter for letter in scene.verifier.dead_letters()}
    for record, original in zip(
        [one for one in scene.table.poison if one.topic == "photo-indexed"], POISON.values(), strict=True
    ):
        assert letters[record].value == original[0]
        assert letters[record].code in original[1]


def _only_about_photos(value: bytes | None, topic: str) -> bool:
    """Whether the value is a good event of the topic all the same."""
    try:
        fields = json.loads(value or b"")
    except (ValueError, RecursionError):
        return False
    if not isinstance(fields, dict):
        return False
    about_key = set(fields) == set(_PHOTO) and fields["photo_id"] == "p" and fields["session_id"] == "s"
    about_photo = fields.get("session_id") == "s" and "occurred_at" not in fields and topic.startswith("session")
    return about_key or about_photo


@pytest.mark.timeout(600)
def test_odd_but_good_events(scene: Scene) -> None:
    """What looks like poison and is none."""
    scene.world.lasting(INTAKE, INGEST)
    driver, session = scene.driver, scene.session("odd")
    key = driver.pictures["lisa"].key
    odd_ids = [
        "'; DROP TABLE photos; --",
        "a" * 255,
        "\u202egnp.exe",
        "\x01\x1b[31m",
        "🤵👰",
        "../../etc/passwd",
        " ",
        "null",
        "0",
    ]
    for odd in odd_ids:
        driver.index(session, odd, "lisa")
        driver.index(f"{session} {odd}"[:255], "photo", "matt")
    at = driver.now()
    numbered = {"photo_id": 17, "session_id": session, "s3_key": key, "occurred_at": at.isoformat()}
    more = {**numbered, "photo_id": "more", "width": 640, "nested": {"session_id": "other"}, "faces": [1, 2]}
    sent = driver.send_many([("photo-indexed", "odd", fields) for fields in (numbered, more)])
    driver.table.photo_indexed((session, "17"), at, driver.pictures["lisa"], sent[:1])
    driver.table.photo_indexed((session, "more"), at, driver.pictures["lisa"], sent[1:])
    driver.index(session, "timeless", "lisa", timed=False)
    scene.settle(60)
