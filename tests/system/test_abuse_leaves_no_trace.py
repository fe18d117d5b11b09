"""After abuse of every kind, of selfies, keys and tokens: none of them stands in a log, a metric of serve, a
message or an answer."""

import asyncio
import base64
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

import httpx
import numpy as np
import pytest
from faults.scanner import Needles, find, needles
from PIL import Image
from pydantic import SecretStr
from support.hostile import hostile_files, saved
from support.running import PATIENCE_SECONDS, Running, new_session
from support.samples import astronaut_jpeg
from support.streams_support import read_topic, topic_names

from facepass.embedding import FaceEngine
from facepass.schemas.callers import Scope
from facepass.schemas.ids import SessionId
from facepass.schemas.settings import DatabaseSettings
from facepass.search_api.access.session_tokens import make_token
from facepass.storage.callers.api_keys import create_key
from facepass.storage.callers.token_secrets import read_secret
from facepass.storage.database import open_database

LEAST_SECRET = 16
"""Characters of a key or token: shorter parts of one say nothing."""


async def _credentials(running: Running, session_id: str) -> dict[str, str]:
    async with open_database(DatabaseSettings(database=SecretStr(running.database))) as database:
        key = (await create_key(database, "to be abused", [Scope.INDEX])).key
        secret = await read_secret(database)
    guest, late = (make_token(secret, SessionId(session_id), timedelta(days=days)) for days in (1, -1))
    return {
        "key": key,
        "key from settings": running.api_key,
        "wrong key": key[:-4] + "wXyz",
        "token": guest,
        "expired token": late,
        "token of another hand": guest[:-4] + "wXyz",
    }


def _searches(session: str, selfie: bytes, vector: list[float]) -> Iterator[dict[str, object]]:
    """Arguments of POST /search. Each puts face data where it does not belong."""
    encoded = base64.b64encode(selfie).decode()
    form, file = {"session_id": session}, {"file": selfie}
    yield {"data": form, "files": file}
    yield {"data": {"session_id": encoded[:20_000]}, "files": file}
    yield {"data": form | {"threshold": json.dumps(vector)}, "files": file}
    yield {"data": form | {"limit": encoded[:20_000], "min_revision": str(vector)}, "files": file}
    yield {"data": form | {encoded[:2000]: encoded}, "files": file}
    yield {"data": form | {"file": encoded}}
    yield {"data": form, "files": {"file": (encoded[:2000], selfie, f"image/{encoded[:200]}")}}
    yield {"json": {"session_id": session, "file": encoded, "embedding": vector}}
    yield {"content": selfie, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}
    yield {"content": selfie, "headers": {"Content-Type": "image/jpeg", "X-Request-ID": encoded[:100]}}
    yield {"params": {"vector": str(vector)}, "data": form, "files": file}
    yield {"data": form, "files": [("file", selfie)] * 6}


def _abuse_with_selfies(
    client: httpx.Client, session: str, selfie: bytes, vector: list[float]
) -> list[httpx.Response]:
    answers = [client.post("/api/v1/search", **call) for call in _searches(session, selfie, vector)]
    form = {"session_id": session}
    files = islice(hostile_files(7, 4), 60)
    return answers + [client.post("/api/v1/search", data=form, files={"file": one.data}) for one in files]


def _abuse_of_indexing(
    client: httpx.Client, session: str, selfie: bytes, vector: list[float]
) -> list[httpx.Response]:
    """With a right key: what is refused, what becomes a dead letter, what is indexed."""
    damaged = selfie[: len(selfie) // 2] + bytes(100)
    encoded = base64.b64encode(selfie).decode()
    photo = {"photo_id": "p", "session_id": session, "s3_key": "p.jpg"}
    return [
        client.post("/api/v1/index", data=photo, files={"file": selfie}),
        client.post("/api/v1/index", data=photo | {"photo_id": "damaged"}, files={"file": damaged}),
        client.post("/api/v1/index", json=photo | {"s3_key": encoded[:1500]}),
        client.post("/api/v1/index", json=photo | {"photo_id": encoded}),
        client.post("/api/v1/index", json=photo | {"embedding": vector, "image": encoded}),
        client.post("/api/v1/index", json=vector),
        client.post("/api/v1/index/batch", json={"session_id": session, "photos": vector}),
        client.post(f"/api/v1/sessions/{session}/explain", data={"photo_id": str(vector)}, files={"file": selfie}),
        client.post(f"/api/v1/sessions/{session}/explain", data={"photo_id": "p"}, files={"file": damaged}),
    ]


def _abuse_with_credentials(client: httpx.Client, session: str, secret: str) -> list[httpx.Response]:
    """One key or token in every place where somebody might put it."""
    photos = f"/api/v1/sessions/{session}/photos"
    headers: list[dict[str, str]] = [
        {"X-API-Key": secret},
        {"X-API-Key": f"{secret},{secret}"},
        {"Authorization": f"Bearer {secret}"},
        {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"},
        {"Cookie": f"key={secret}", "Referer": f"http://x/?key={secret}"},
        {"Idempotency-Key": secret, "X-API-Key": secret},
    ]
    asked = [client.get(photos, headers=one) for one in headers]
    asked += [client.post("/api/v1/index", json={"photo_id": 1}, headers=one) for one in headers]
    asked += [client.delete(f"/api/v1/index/{session}-other", headers=one) for one in headers]
    asked += [client.get(f"/api/v1/sessions/validate/{session}", headers=one) for one in headers]
    asked += [client.get(photos, params={name: secret}) for name in ("api_key", "token", "key", "state")]
    return asked


def _dead_letters(running: Running, session: str, selfie: bytes) -> None:
    """A photo that is half a selfie, and one that is not there."""
    folder = running.photos / session
    folder.mkdir()
    (folder / "half.jpg").write_bytes(selfie[: len(selfie) // 2])
    running.publish_photos(session, {name: f"{session}/{name}.jpg" for name in ("half", "none")})
    running.wait_until_settled(session, 1)


def _kept(running: Running, answers: list[httpx.Response]) -> Iterator[tuple[str, bytes]]:
    """Everything that was said, by its place: but for the events that the test itself published."""
    for log in sorted(Path(running.logs).rglob("*")):
        if log.is_file():
            yield f"log {log.name}", log.read_bytes()
    yield "metrics of serve", httpx.get(f"{running.http}/metrics", trust_env=False).content
    for number, answer in enumerate(answers):
        said = "\n".join([f"{name}: {value}" for name, value in answer.headers.items()]).encode() + answer.content
        yield f"answer {number}, {answer.status_code} to {answer.request.method}", said


async def _messages(running: Running) -> list[tuple[str, bytes]]:
    found = []
    for topic in ("index-updates", "facepass-dead-letters"):
        assert topic in await topic_names(running.kafka)
        for record in await read_topic(running.kafka, topic):
            said = [record.key or b"", record.value or b"", *(value for _, value in record.headers)]
            found.append((f"{topic} {record.partition}:{record.offset}", b"\n".join(said)))
    return found


def _found(kept: Iterable[tuple[str, bytes]], faces: Needles, secrets: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for place, said in kept:
        hits = find(said, faces)
        for name, secret in secrets.items():
            for part in (secret, *secret.split(".")):
                forms = (part, base64.b64encode(part.encode()).decode().rstrip("=")[:-2], part.encode().hex())
                if len(part) >= LEAST_SECRET and any(form.encode() in said for form in forms):
                    hits.append(name)
        if hits:
            found[place] = hits
    return found


@pytest.mark.timeout(600)
def test_nothing_of_abused_selfies_keys_and_tokens_is_kept(running: Running, engine: FaceEngine) -> None:
    turned = Image.open(io.BytesIO(astronaut_jpeg())).rotate(3, expand=True)
    selfie = saved(turned, "JPEG", quality=93)  # of this test alone
    session = new_session("abused")
    secrets = asyncio.run(_credentials(running, session))
    (face,) = engine.analyse_photo(selfie).faces
    vector = [float(number) for number in face.embedding]
    with running.client() as client:
        with httpx.Client(base_url=running.http, trust_env=False, timeout=PATIENCE_SECONDS) as keyed:
            keyed.headers["X-API-Key"] = secrets["key from settings"]
            answers = _abuse_of_indexing(keyed, session, selfie, vector)
        answers += _abuse_with_selfies(client, session, selfie, vector)
        for secret in secrets.values():
            answers += _abuse_with_credentials(client, session, secret)
    _dead_letters(running, session, selfie)
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) >= {200, 401, 403, 413, 415, 422}, statuses
    assert max(statuses) < 500, statuses
    kept = [*_kept(running, answers), *asyncio.run(_messages(running))]
    faces = needles({"the selfie": np.array(vector)}, {"the selfie": selfie})
    assert _found(kept, faces, secrets) == {}
    planted = [("text", str(vector).encode()), ("file", selfie), ("key", f"key={secrets['key']}".encode())]
    assert len(_found(planted, faces, secrets)) == len(planted)
