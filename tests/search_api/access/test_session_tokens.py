"""Guests' tokens: for one session, for a time, and nothing that anybody else can make."""

import base64
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.ids import MAX_ID_CHARACTERS, SessionId
from facepass.search_api.access.session_tokens import MAX_TOKEN_CHARACTERS, make_token, read_token

SECRET = bytes(range(32))
DAY = timedelta(days=1)
TOKEN = make_token(SECRET, SessionId("s1"), DAY)

IDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=255)


def refusal(token: str, secret: bytes = SECRET) -> ErrorCode:
    with pytest.raises(PermanentError) as caught:
        read_token(secret, token)
    return caught.value.code


@given(IDS)
def test_a_token_names_its_session(session_id: str) -> None:
    token = make_token(SECRET, SessionId(session_id), DAY)
    assert read_token(SECRET, token) == session_id


def test_the_longest_id_makes_a_token_that_is_read() -> None:
    longest = SessionId("\U0001f600" * MAX_ID_CHARACTERS)
    token = make_token(SECRET, longest, DAY)
    assert len(token) < MAX_TOKEN_CHARACTERS
    assert read_token(SECRET, token) == longest


def test_a_token_that_was_valid_once_says_so() -> None:
    assert refusal(make_token(SECRET, SessionId("s1"), -DAY)) is ErrorCode.TOKEN_EXPIRED
    assert refusal(make_token(b"x" * 32, SessionId("s1"), -DAY)) is ErrorCode.TOKEN_REQUIRED


@given(st.text(max_size=200))
def test_no_other_text_is_a_token(text: str) -> None:
    assume(text != TOKEN)
    assert refusal(text) is ErrorCode.TOKEN_REQUIRED


@given(st.integers(0, len(TOKEN) - 1), st.characters(categories=("L", "N"), max_codepoint=127))
def test_no_altered_or_truncated_token_passes(place: int, other: str) -> None:
    assert refusal(TOKEN[:place]) is ErrorCode.TOKEN_REQUIRED
    altered = TOKEN[:place] + other + TOKEN[place + 1 :]
    # base64 leaves some bits of the last character unused: such a token is the same bytes written otherwise
    assume(_bytes(altered) != _bytes(TOKEN))
    assert refusal(altered) is ErrorCode.TOKEN_REQUIRED


def _bytes(token: str) -> list[bytes]:
    return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")]


def test_no_other_algorithm_audience_or_claims_pass() -> None:
    soon = datetime.now(UTC) + DAY
    good = {"sub": "s1", "aud": "facepass-guest", "exp": soon}
    assert read_token(SECRET, jwt.encode(good, SECRET)) == "s1"
    unsigned = jwt.encode(good, None, algorithm="none")
    longer = jwt.encode(good, SECRET * 2, algorithm="HS512")
    wrong = [
        good | {"aud": "other"},
        good | {"sub": 5},
        *({k: good[k] for k in good if k != name} for name in good),
    ]
    tokens = [unsigned, longer, *(_signed(claims) for claims in wrong)]
    assert {refusal(token) for token in tokens} == {ErrorCode.TOKEN_REQUIRED}


def _signed(claims: dict[str, object]) -> str:
    """As PyJWT's own encoder refuses to: with claims of a wrong type."""
    plain = {name: value.timestamp() if isinstance(value, datetime) else value for name, value in claims.items()}
    return jwt.api_jws.encode(json.dumps(plain).encode(), SECRET, algorithm="HS256")


def test_a_hostile_header_is_only_refused() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")
    assert len(deep) < MAX_TOKEN_CHARACTERS
    assert refusal(f"{deep}.e30.x") is ErrorCode.TOKEN_REQUIRED
    assert refusal("x" * 1_000_000) is ErrorCode.TOKEN_REQUIRED
