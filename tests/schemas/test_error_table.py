"""Every error code has its entry in the table, or is known as one that no HTTP answer has."""

from facepass.schemas.error_table import ERROR_TABLE, photo_message
from facepass.schemas.errors import ErrorCode

WITHOUT_AN_ANSWER = {
    # of events: they end in the ledger or as a dead letter
    ErrorCode.INVALID_EVENT,
    ErrorCode.OCCURRED_AT_AHEAD,
    ErrorCode.OCCURRED_AT_REQUIRED,
    # of the command line
    ErrorCode.KEY_NOT_FOUND,
    ErrorCode.LETTER_NOT_FOUND,
    # they keep a process from starting, or end it
    ErrorCode.TOPIC_MISSING,
    ErrorCode.TOPIC_COMPACTED,
    ErrorCode.TOO_MANY_DEAD_LETTERS,
    ErrorCode.STALLED,
    ErrorCode.NOT_MIGRATED,
    ErrorCode.GENERATION_MISMATCH,
    ErrorCode.INVALID_PACK,
    ErrorCode.INVALID_SETTING,
}


def test_every_code_is_in_the_table_or_has_no_answer() -> None:
    assert set(ERROR_TABLE) | WITHOUT_AN_ANSWER == set(ErrorCode)
    assert not set(ERROR_TABLE) & WITHOUT_AN_ANSWER


def test_what_belongs_to_a_status_stands_with_it() -> None:
    for code, entry in ERROR_TABLE.items():
        assert entry.example, code
        assert 400 <= entry.status < 600, code
        assert bool(entry.challenge) == (entry.status == 401), code
        assert entry.clients_fault == (entry.status < 500), code
        assert (entry.retry_after is not None) == (entry.status == 503 or code is ErrorCode.REQUEST_UNDER_WAY), (
            code
        )


def test_a_photo_always_has_a_message() -> None:
    assert "upload" in photo_message(ErrorCode.PHOTO_NOT_FOUND)
    for code in (*ErrorCode, "of_another_version"):
        assert photo_message(code)
    assert "of_another_version" in photo_message("of_another_version")
