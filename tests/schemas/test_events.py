"""Events: bytes in, event or typed error out."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.events import (
    MAX_AHEAD,
    Event,
    IndexUpdate,
    PhotoDeleted,
    PhotoIndexed,
    SessionDeleted,
    SessionUpdated,
    decode_event,
)
from facepass.schemas.ids import MAX_ID_CHARACTERS

RECORDED_AT = datetime(2026, 5, 9, 12, 30, tzinfo=UTC)
GOOD = {"photo_id": "p", "session_id": "s", "s3_key": "a/b.jpg", "occurred_at": "2026-05-09T12:00:00Z"}

ids = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=255)


def decode(fields: object, kind: type[Event] = PhotoIndexed) -> Event:
    return decode_event(kind, json.dumps(fields).encode(), recorded_at=RECORDED_AT)


def refusal(value: bytes | None, kind: type[Event] = PhotoIndexed) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        decode_event(kind, value, recorded_at=RECORDED_AT)
    return caught.value


@pytest.mark.property("3b")
@given(photo_id=ids, session_id=ids)
def test_property_3b_every_id_of_1_to_255_characters_survives_a_round_trip(photo_id: str, session_id: str) -> None:
    event = PhotoIndexed.model_validate(GOOD | {"photo_id": photo_id, "session_id": session_id})
    again = decode_event(PhotoIndexed, event.to_bytes(), recorded_at=RECORDED_AT)
    assert again == event
    assert (again.photo_id, again.session_id) == (photo_id, session_id)


@pytest.mark.property("3b")
@given(number=st.integers(min_value=-(10**200), max_value=10**250))
def test_property_3b_an_integer_id_means_its_decimal_string(number: int) -> None:
    assert decode(GOOD | {"photo_id": number}).photo_id == str(number)  # type: ignore[attr-defined]


@pytest.mark.parametrize("bad", ["", "x" * (MAX_ID_CHARACTERS + 1), "a\x00b", "\ud800", True, 1.5, None, [], {}])
@pytest.mark.parametrize("field", ["photo_id", "session_id"])
def test_a_bad_id_is_refused_by_name_without_repeating_it(bad: object, field: str) -> None:
    error = refusal(json.dumps(GOOD | {field: bad}).encode())
    assert error.code in {ErrorCode.INVALID_ID, ErrorCode.INVALID_EVENT}
    assert "xxx" not in str(error)


@pytest.mark.parametrize(
    "value",
    [None, b"", b"null", b"[]", b"7", b'"text"', b"{", b"\xff\xfe", b"{}", b'{"photo_id": "p"}', b"[" * 5000],
)
def test_what_is_no_event_is_refused_with_its_topic_named(value: bytes | None) -> None:
    error = refusal(value)
    assert error.code in {ErrorCode.INVALID_EVENT, ErrorCode.INVALID_ID}
    assert "photo-indexed" in error.message


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "a\x00b", 7, None])
def test_a_key_that_s3_could_not_hold_is_refused(key: object) -> None:
    assert refusal(json.dumps(GOOD | {"s3_key": key}).encode()).code is ErrorCode.INVALID_EVENT


@pytest.mark.parametrize(
    "time", ["yesterday", "2026-05-09", "2026-05-09T12:00:00", 1778328000, "0001-01-01T00:00:00+14:00"]
)
def test_a_time_that_is_not_rfc_3339_is_refused(time: object) -> None:
    assert refusal(json.dumps(GOOD | {"occurred_at": time}).encode()).code is ErrorCode.INVALID_EVENT


def test_unknown_fields_are_ignored_and_times_become_utc() -> None:
    event = decode(GOOD | {"camera": "x", "occurred_at": "2026-05-09T15:00:00+03:00"})
    assert event.occurred_at == datetime(2026, 5, 9, 12, tzinfo=UTC)
    assert event.occurred_at.utcoffset() == timedelta(0)
    assert event.occurred_at_given


def test_without_a_time_the_records_own_stands_in_and_is_marked() -> None:
    for fields in ({k: v for k, v in GOOD.items() if k != "occurred_at"}, GOOD | {"occurred_at": None}):
        event = decode(fields)
        assert event.occurred_at == RECORDED_AT
        assert not event.occurred_at_given


def test_a_producer_cannot_claim_that_its_time_was_given() -> None:
    fields = {k: v for k, v in GOOD.items() if k != "occurred_at"} | {"occurred_at_given": True}
    assert not decode(fields).occurred_at_given


def test_a_clock_more_than_five_minutes_ahead_is_refused_and_our_own_deletions_are_not() -> None:
    ahead = (RECORDED_AT + MAX_AHEAD + timedelta(microseconds=1)).isoformat()
    just = (RECORDED_AT + MAX_AHEAD).isoformat()
    assert decode(GOOD | {"occurred_at": just})
    value = json.dumps({"session_id": "s", "occurred_at": ahead}).encode()
    assert refusal(value, SessionDeleted).code is ErrorCode.OCCURRED_AT_AHEAD
    assert decode_event(SessionDeleted, value, recorded_at=RECORDED_AT, may_lead=True)


def test_session_updated_takes_a_studio_number_and_no_guess_for_the_switch() -> None:
    event = decode(
        {"session_id": 4, "studio_id": 12, "name": "Свадьба", "facepass_enabled": False}, SessionUpdated
    )
    assert isinstance(event, SessionUpdated)
    assert (event.session_id, event.studio_id, event.facepass_enabled) == ("4", "12", False)
    error = refusal(b'{"session_id": "s", "facepass_enabled": "yes"}', SessionUpdated)
    assert error.details["field"] == "facepass_enabled"


def test_every_event_survives_its_own_bytes() -> None:
    events: list[Event] = [
        PhotoDeleted(session_id="s", photo_id="p", occurred_at=RECORDED_AT),  # type: ignore[arg-type]
        SessionDeleted(session_id="s", occurred_at=RECORDED_AT),  # type: ignore[arg-type]
        SessionUpdated(session_id="s", occurred_at=RECORDED_AT, name="n"),  # type: ignore[arg-type]
        IndexUpdate.model_validate(
            {"session_id": "s", "occurred_at": RECORDED_AT.isoformat(), "generation": 1, "revision": 3}
            | {"status": "failed", "photo_id": "p", "code": "damaged_image"}
        ),
    ]
    for event in events:
        assert decode_event(type(event), event.to_bytes(), recorded_at=RECORDED_AT) == event
