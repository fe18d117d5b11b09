"""Keys and guests' tokens on the real database: who passes, who is refused, and what is said of it."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from io import StringIO

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY, generate_latest
from pydantic import SecretStr
from support.guarded import client_of, guarded_app
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.callers import Scope
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.ids import SessionId
from facepass.schemas.settings import AccessSettings, DatabaseSettings
from facepass.search_api import Resources
from facepass.search_api.access.key_ring import CACHE_SECONDS
from facepass.search_api.access.session_tokens import make_token
from facepass.storage.callers.api_keys import create_key, read_keys, revoke_key, rotate_key
from facepass.storage.callers.token_secrets import read_secret
from facepass.storage.database import Database

CONFIGURED = "settings-key-0123456789-0123456789"
SHORT = "short-but-deployed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The small application, a client of it, and the database behind."""

    client: httpx.AsyncClient
    db: Database

    async def status(self, path: str, key: str | None, method: str = "GET") -> int:
        headers = {} if key is None else {"X-API-Key": key}
        return (await self.client.request(method, path, headers=headers)).status_code


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


def access(**changes: object) -> AccessSettings:
    return AccessSettings.model_validate({"api_keys": SecretStr(f" {SHORT} ,{CONFIGURED},,")} | changes)


async def api_of(parts: Resources, settings: AccessSettings) -> Api:
    app, _ = guarded_app(replace(parts, access=settings))
    return Api(client=client_of(app), db=parts.store.database)


@pytest.fixture
async def api(stack: SearchStack) -> Api:
    return await api_of(stack.parts, access())


def refusals(reason: str) -> float:
    return REGISTRY.get_sample_value("refusals_total", {"reason": reason}) or 0.0


async def test_each_scope_opens_its_routes_and_no_others(api: Api) -> None:
    opens = {}
    for scope in Scope:
        made = await create_key(api.db, scope.value, [scope])
        opens[scope] = [
            await api.status(path, made.key, method)
            for path, method in (("/index", "POST"), ("/photos", "GET"), ("/keys", "GET"))
        ]
    assert opens == {
        Scope.INDEX: [200, 403, 403],
        Scope.READ: [403, 200, 403],
        Scope.ADMIN: [200, 200, 200],
    }
    indexer = await create_key(api.db, "indexer", [Scope.INDEX])
    answer = await api.client.get("/photos", headers={"X-API-Key": indexer.key})
    assert answer.json()["code"] == "scope_required"
    assert answer.json()["details"] == {"scope": "read"}


async def test_keys_of_the_settings_have_every_scope_and_short_ones_are_warned_of(
    stack: SearchStack, log_lines: StringIO
) -> None:
    api = await api_of(stack.parts, access())
    for key in (CONFIGURED, SHORT):
        assert await api.status("/keys", key) == 200
    assert await api.status("/keys", f"{SHORT},{CONFIGURED}") == 401
    assert await api.status("/keys", "") == 401
    logged = log_lines.getvalue()
    assert '"number": 1' in logged
    assert logged.count("weak_key") == 1
    assert SHORT not in logged


async def test_a_refusal_says_how_to_call_and_not_which_keys_exist(api: Api) -> None:
    revoked = await create_key(api.db, "old", [Scope.READ])
    await revoke_key(api.db, revoked.key_id)
    answers = [
        await api.client.get("/photos"),
        await api.client.get("/photos", headers={"X-API-Key": "wrong"}),
        await api.client.get("/photos", headers={"X-API-Key": revoked.key}),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["code"] == "key_required"
    assert {answer.headers["www-authenticate"] for answer in answers} == {'ApiKey realm="FacePass"'}


LIKE_A_KEY = st.text(st.characters(min_codepoint=33, max_codepoint=255), min_size=1, max_size=80)


@st.composite
def wrong_forms(draw: st.DrawFn) -> tuple[str, int, str]:
    """How a valid key is spoilt: what is done, where, and with what."""
    return (
        draw(st.sampled_from(["truncate", "alter", "append", "prepend", "swap case", "invent"])),
        draw(st.integers(0, 45)),
        draw(LIKE_A_KEY),
    )


def spoil(key: str, how: str, place: int, text: str) -> str:
    return {
        "truncate": key[:place],
        "alter": key[:place] + text[0] + key[place + 1 :],
        "append": key + text,
        "prepend": text + key,
        "swap case": key[:place] + key[place:].swapcase(),
        "invent": text,
    }[how]


@pytest.mark.property(10)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(forms=st.lists(wrong_forms(), min_size=1, max_size=12))
async def test_property_10_every_invalid_key_is_refused(api: Api, forms: list[tuple[str, int, str]]) -> None:
    valid = await create_key(api.db, "valid", [Scope.READ])
    wrong = [spoil(valid.key, *form) for form in forms]
    wrong = [key for key in wrong if key not in {valid.key, CONFIGURED, SHORT}]
    statuses = await asyncio.gather(
        *(
            api.client.get("/photos", headers=[(b"X-API-Key", key.encode("latin-1"))])
            for key in [valid.key, *wrong]
        )
    )
    assert [answer.status_code for answer in statuses] == [200, *[401] * len(wrong)]


def _served(log_lines: StringIO) -> str:
    """What was logged, but for the test's own client."""
    lines = [line for line in log_lines.getvalue().splitlines() if '"logger": "httpx"' not in line]
    assert lines
    return "\n".join(lines)


@pytest.mark.property(10)
async def test_property_10_revoked_and_expired_keys_are_refused_and_no_key_is_logged(
    api: Api, log_lines: StringIO
) -> None:
    before = {reason: refusals(f"{reason}_key") for reason in ("missing", "unknown", "revoked", "expired")}
    valid, revoked, rotated = [await create_key(api.db, name, [Scope.READ]) for name in ("a", "b", "c")]
    successor = await rotate_key(api.db, rotated.key_id, timedelta(0))
    await revoke_key(api.db, revoked.key_id)
    presented = [valid.key, successor.key, revoked.key, rotated.key, valid.key[:-1], None]
    assert [await api.status("/photos", key) for key in presented] == [200, 200, 401, 401, 401, 401]
    assert {reason: refusals(f"{reason}_key") - before[reason] for reason in before} == dict.fromkeys(before, 1.0)
    logged, counted = _served(log_lines), generate_latest().decode()
    for key in filter(None, presented):
        for text in (key, key.removeprefix("fp_"), key[3:20]):
            assert text not in logged
            assert text not in counted
    assert logged.count('"event": "refused"') == 4
    assert '"reason": "revoked_key"' in logged
    assert f'"key_id": "{revoked.key_id}"' in logged
    assert '"address": "203.0.113.1"' in logged


async def test_a_new_key_works_at_once_and_a_revoked_one_only_for_seconds(api: Api) -> None:
    first = await create_key(api.db, "first", [Scope.READ])
    assert await api.status("/photos", first.key) == 200
    second = await create_key(api.db, "second", [Scope.READ])
    assert await api.status("/photos", second.key) == 200
    await revoke_key(api.db, first.key_id)
    async with asyncio.timeout(60):
        while await api.status("/photos", first.key) == 200:  # noqa: ASYNC110 - another process would revoke it
            await asyncio.sleep(CACHE_SECONDS / 10)
    assert await api.status("/photos", second.key) == 200


async def test_a_rotated_key_goes_on_for_its_grace_and_never_longer_than_before(api: Api) -> None:
    old = await create_key(api.db, "pixora", [Scope.INDEX, Scope.READ])
    new = await rotate_key(api.db, old.key_id, timedelta(hours=1))
    assert [await api.status("/photos", key) for key in (old.key, new.key)] == [200, 200]
    listed = {key.key_id: key for key in await read_keys(api.db)}
    assert listed[new.key_id].scopes == listed[old.key_id].scopes == {Scope.INDEX, Scope.READ}
    assert listed[new.key_id].name == "pixora"
    soon = listed[old.key_id].expires_at
    await rotate_key(api.db, old.key_id, timedelta(hours=2))
    assert [key.expires_at for key in await read_keys(api.db) if key.key_id == old.key_id] == [soon]
    await revoke_key(api.db, old.key_id)
    for key_id in (old.key_id, "nonsense"):
        with pytest.raises(PermanentError) as caught:
            await rotate_key(api.db, key_id, timedelta(hours=1))
        assert caught.value.code is ErrorCode.KEY_NOT_FOUND


async def test_the_last_use_is_recorded_once_a_minute(api: Api) -> None:
    made = await create_key(api.db, "used", [Scope.READ])
    assert [key.last_used_at for key in await read_keys(api.db)] == [None]
    await asyncio.gather(*(api.status("/photos", made.key) for _ in range(20)))
    (first,) = await read_keys(api.db)
    assert first.last_used_at is not None
    version = await _row_version(api.db)
    await asyncio.gather(*(api.status("/photos", made.key) for _ in range(20)))
    assert await _row_version(api.db) == version


async def _row_version(db: Database) -> object:
    """Changes whenever the table's only row is written."""
    async with db.transaction() as connection:
        return await (await connection.execute("SELECT xmin::text, ctid FROM api_keys")).fetchone()


async def test_only_the_hash_of_a_key_is_stored(api: Api) -> None:
    made = await create_key(api.db, "stored", [Scope.READ])
    async with api.db.transaction() as connection:
        (row,) = await (await connection.execute("SELECT api_keys::text FROM api_keys")).fetchall()
    assert made.key not in str(row)
    assert made.key.encode().hex() not in str(row)
    assert len(made.key) == len("fp_") + 43
    assert made.key not in repr(made)
    (listed,) = await read_keys(api.db)
    assert "hash" not in repr(listed)


async def test_every_key_is_compared_in_constant_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last one, whichever it is: neither the time of a comparison nor how many there are tells anything."""
    made = [await create_key(api.db, str(number), [Scope.READ]) for number in range(5)]
    await api.status("/photos", made[0].key)
    compared = []
    real = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for key in made:
        compared.clear()
        assert await api.status("/photos", key.key) == 200
        assert compared == [32] * 7  # two of the settings, five of the database
    for key in (SHORT, CONFIGURED):
        compared.clear()
        assert await api.status("/photos", key) == 200
        assert compared == [32] * 2


async def test_without_the_database_only_keys_of_the_settings_are_known(api: Api) -> None:
    made = await create_key(api.db, "stored", [Scope.READ])
    await api.db.pool.close()
    assert await api.status("/photos", CONFIGURED) == 200
    assert await api.status("/photos", made.key) == 503


async def test_guests_need_the_sessions_token_where_it_is_required(
    stack: SearchStack, api: Api, log_lines: StringIO
) -> None:
    assert await api.status("/guests/s1", None) == 200  # public by default
    bound = await api_of(stack.parts, access(session_tokens="required"))
    secret = await read_secret(bound.db)
    token = make_token(secret, SessionId("s1"), timedelta(days=1))
    expired = make_token(secret, SessionId("s1"), -timedelta(days=1))
    cases = {
        f"Bearer {token}": (200, None),
        f"bearer   {token}": (200, None),
        f"Bearer {expired}": (401, "token_expired"),
        f"Bearer {token[:-3]}": (401, "token_required"),
        f"Basic {token}": (401, "token_required"),
        "Bearer": (401, "token_required"),
        "": (401, "token_required"),
    }
    for header, expected in cases.items():
        answer = await bound.client.get("/guests/s1", headers={"Authorization": header})
        assert (answer.status_code, answer.json() and answer.json()["code"]) == expected, header
        assert (answer.status_code == 401) == answer.headers.get("www-authenticate", "").startswith("Bearer")
    other = await bound.client.get("/guests/s2", headers={"Authorization": f"Bearer {token}"})
    assert (other.status_code, other.json()["code"]) == (401, "token_required")
    assert (await bound.client.get(f"/guests/s1?token={token}")).status_code == 401
    reader, indexer = [(await create_key(bound.db, scope, [Scope(scope)])).key for scope in ("read", "index")]
    assert [await bound.status("/guests/s1", key) for key in (reader, indexer, "wrong")] == [200, 403, 401]
    for text in (token, token.rsplit(".", 1)[1], expired.rsplit(".", 1)[1]):
        assert text not in _served(log_lines)


async def test_a_new_secret_ends_every_link(stack: SearchStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facepass.search_api.access.session_tokens.CACHE_SECONDS", 0.0)
    bound = await api_of(stack.parts, access(session_tokens="required"))

    async def opens(token: str) -> bool:
        answer = await bound.client.get("/guests/s1", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code == 200

    old = make_token(await read_secret(bound.db), SessionId("s1"), timedelta(days=1))
    assert await opens(old)
    async with bound.db.transaction() as connection:
        await connection.execute("DELETE FROM token_secrets")
    assert not await opens(old)
    assert await opens(make_token(await read_secret(bound.db), SessionId("s1"), timedelta(days=1)))
    new = make_token(await read_secret(bound.db), SessionId("s1"), timedelta(days=1))
    await bound.db.pool.close()  # the secret in hand serves on
    assert [await opens(token) for token in (old, new)] == [False, True]


async def test_the_secret_is_made_once_whoever_asks(api: Api) -> None:
    assert len(set(await asyncio.gather(*(read_secret(api.db) for _ in range(20))))) == 1
