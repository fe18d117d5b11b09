"""The header Idempotency-Key: the first answer again, to whom, for how long, and when not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from support.index_workers import Calls, code, faces_of, open_calls, settle
from support.samples import astronaut_png

from facepass.embedding import FaceEngine
from facepass.schemas.errors import ErrorCode
from facepass.schemas.faces import PhotoFaces
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.callers.idempotency_keys import Claim, KeptAnswer, claim_key, forget_keys

Opener = Callable[..., AbstractAsyncContextManager[Calls]]


@pytest.fixture(scope="module")
def faces(engine: FaceEngine) -> PhotoFaces:
    return faces_of(engine, astronaut_png())


@pytest.fixture
def opened(database_settings: DatabaseSettings, engine: FaceEngine, faces: PhotoFaces) -> Opener:
    return partial(open_calls, database_settings, engine, faces)


@pytest.fixture
async def calls(opened: Opener) -> AsyncIterator[Calls]:
    async with opened() as made:
        yield made


async def test_the_first_answer_comes_again(calls: Calls) -> None:
    first = asyncio.create_task(calls.index(**{"Idempotency-Key": '"k1"'}))
    event = await calls.workers.next_photo()
    # the first has no answer yet
    answer = await calls.index(**{"Idempotency-Key": "k1"})
    assert code(answer) == (409, "request_under_way")
    assert int(answer.headers["Retry-After"]) > 0
    assert code(await calls.index(key="other.jpg", **{"Idempotency-Key": "k1"})) == (422, "idempotency_mismatch")

    await calls.note(await settle(calls.stack.parts, event, error=ErrorCode.DAMAGED_IMAGE))
    answer = await first
    assert code(answer) == (422, "damaged_image")
    again = await calls.index(**{"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()) == (422, answer.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert code(await calls.batch({"p": "a.jpg"}, **{"Idempotency-Key": "k1"})) == (422, "idempotency_mismatch")
    assert len(calls.workers.published) == 1

    # another key is another call: it is tried again
    call = asyncio.create_task(calls.index(**{"Idempotency-Key": "k2"}))
    await calls.note(await settle(calls.stack.parts, await calls.workers.next_photo(), found=calls.faces))
    good = await call
    assert (await calls.index(**{"Idempotency-Key": "k2"})).json() == good.json()


async def test_what_may_go_better_is_not_kept(calls: Calls) -> None:
    calls.workers.broker_there = False
    assert (await calls.index(**{"Idempotency-Key": "k"})).status_code == 503
    calls.workers.broker_there = True
    call = asyncio.create_task(calls.index(**{"Idempotency-Key": "k"}))
    await calls.note(await settle(calls.stack.parts, await calls.workers.next_photo(), found=calls.faces))
    assert (await call).status_code == 200


async def test_a_pending_answer_is_the_first_answer_too(opened: Opener) -> None:
    async with opened(index_wait_seconds=0.2) as calls:
        first = await calls.index(**{"Idempotency-Key": "k"})
        await settle(calls.stack.parts, await calls.workers.next_photo(), found=calls.faces)
        again = await calls.index(**{"Idempotency-Key": "k"})
        assert (first.status_code, again.status_code) == (202, 202)
        assert again.headers["Location"] == first.headers["Location"]
        assert (await calls.index()).status_code == 200


async def test_batches_and_uploads_are_told_apart_by_their_content(calls: Calls) -> None:
    await calls.indexed()
    key = {"Idempotency-Key": "batch"}
    first = await calls.batch({"p": "a.jpg"}, **key)
    assert (await calls.batch({"p": "a.jpg"}, **key)).json() == first.json()
    streamed = await calls.batch({"p": "a.jpg"}, **key, Accept="text/event-stream")
    assert streamed.text.startswith("event: result\n")
    assert code(await calls.batch({"p": "b.jpg"}, **key)) == (422, "idempotency_mismatch")


async def test_keys_that_are_none(calls: Calls) -> None:
    body = {"photo_id": "p", "session_id": "s", "s3_key": "a.jpg"}
    for key in (b"", b'""', b"a" * 256, "ключ".encode(), b'a"b', b'"a', b"a b"):
        answer = await calls.post("/index", json=body, headers={"Idempotency-Key": key})
        assert code(answer) == (422, "invalid_parameter"), key


async def test_two_callers_may_use_the_same_key(calls: Calls) -> None:
    for caller in ("a", "b"):
        claim = await claim_key(
            calls.stack.parts.store.database,
            caller=caller,
            key="k",
            request_hash=bytes(32),
            kept_seconds=9,
            longest=9,
        )
        assert isinstance(claim, Claim)


async def test_a_key_whose_process_died_and_one_that_is_too_old_are_free_again(calls: Calls) -> None:
    database = calls.stack.parts.store.database

    async def claim(*, kept_seconds: float = 3600) -> Claim | KeptAnswer:
        return await claim_key(
            database, caller="c", key="k", request_hash=bytes(32), kept_seconds=kept_seconds, longest=0
        )

    dead = await claim()
    heir = await claim()
    assert isinstance(dead, Claim)
    assert isinstance(heir, Claim)
    await dead.answer(KeptAnswer(status=500, body=None, headers={}))
    await dead.release()
    await heir.answer(KeptAnswer(status=200, body={"a": 1}, headers={"x": "y"}))
    assert await claim() == KeptAnswer(status=200, body={"a": 1}, headers={"x": "y"})
    assert isinstance(await claim(kept_seconds=0), Claim)
    assert await forget_keys(database, kept_seconds=3600) == 0
    assert await forget_keys(database, kept_seconds=0) == 1
