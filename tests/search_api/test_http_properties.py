"""Properties of the source documents in their HTTP part."""

import json
import re
from collections.abc import AsyncIterator
from io import StringIO
from itertools import pairwise
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from support.samples import astronaut_png, coffee_png, group_jpeg
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.faces import Box
from facepass.schemas.http.search_bodies import SearchAnswer
from facepass.schemas.http.session_bodies import SessionStatus
from facepass.schemas.settings import DatabaseSettings
from facepass.schemas.similarity import cosine_from_similarity
from facepass.search_api.searching.search_answers import search_answer
from facepass.search_api.searching.selfies import Query
from facepass.storage.shards.shard import Match, ShardAnswer


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


def keys_of(value: object) -> set[str]:
    """All field names at any depth."""
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in keys_of(item)}
    return {key for item in value for key in keys_of(item)} if isinstance(value, list) else set()


SEARCH_FIELDS = {
    *("matches", "total_matches", "query_time_ms", "faces_in_selfie", "warnings", "freshness"),
    *("photo_id", "similarity", "cosine", "confidence", "box", "x", "y", "width", "height"),
    *("revision", "indexed_photos", "pending", "failed", "poll_age_ms", "complete", "behind"),
}
STATUS_FIELDS = {
    *("session_id", "indexed", "photo_count", "face_count", "last_indexed"),
    *("pending", "failed", "no_face", "revision"),
}


@pytest.mark.property(4)
async def test_property_4_answers_carry_these_fields_and_no_others(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png(), "others": group_jpeg()})
    assert keys_of((await stack.search("s1", astronaut_png(), threshold=0)).json()) == SEARCH_FIELDS
    warned = await stack.search("s1", group_jpeg(), threshold=0)
    assert keys_of(warned.json()) == SEARCH_FIELDS | {"code", "message", "selfie"}
    assert keys_of((await stack.client.get("/api/v1/search/status/s1")).json()) == STATUS_FIELDS
    assert keys_of((await stack.client.get("/api/v1/search/status/unknown")).json()) == STATUS_FIELDS


def check_answer(answer: SearchAnswer, *, threshold: float, limit: int) -> None:
    similarities = [match.similarity for match in answer.matches]
    assert all(better >= worse for better, worse in pairwise(similarities))
    assert all(similarity >= threshold for similarity in similarities)
    photos = [match.photo_id for match in answer.matches]
    assert len(set(photos)) == len(photos) == min(limit, answer.total_matches)


@pytest.mark.property(5)
async def test_property_5_every_answer_is_sorted_bounded_and_counted(stack: SearchStack) -> None:
    await stack.index(
        "s1", {f"me{i}": astronaut_png() for i in range(3)} | {"others": group_jpeg(), "cup": coffee_png()}
    )
    everything = await stack.search("s1", astronaut_png(), threshold=0)
    bounds = [match["similarity"] for match in everything.json()["matches"]]
    assert len(bounds) == 4
    for threshold in (0.0, 0.3, *bounds, 0.7, 0.95, 1.0):
        for limit in (1, 3, 1000):
            response = await stack.search("s1", astronaut_png(), threshold=threshold, limit=limit)
            answer = SearchAnswer.model_validate_json(response.content)
            check_answer(answer, threshold=threshold, limit=limit)
            # a similarity that was printed and sent back may round either way: only that photo may differ
            clearly = sum(bound >= threshold + 1e-6 for bound in bounds)
            assert clearly <= answer.total_matches <= sum(bound >= threshold - 1e-6 for bound in bounds)


@pytest.mark.property(5)
@given(
    cosines=st.lists(st.floats(-1, 1, width=32), max_size=30),
    operating_point=st.floats(0.1, 0.9),
    threshold=st.floats(0, 1),
)
def test_property_5_the_similarity_keeps_order_and_threshold(
    cosines: list[float], operating_point: float, threshold: float
) -> None:
    """A shard compares single-precision cosines with the bound, so the bound itself may be rounded down."""
    bound = float(np.float32(cosine_from_similarity(threshold, operating_point)))
    cosines = sorted([bound, *(cosine for cosine in cosines if cosine >= bound)], reverse=True)
    box = Box(x=0.0, y=0.0, width=1.0, height=1.0)
    matches = [Match(photo_id=f"p{i}", cosine=c, confidence=0.9, box=box) for i, c in enumerate(cosines)]
    found = ShardAnswer(
        matches=matches, total=len(matches), revision=1, behind=0, photos=len(matches), pending=0, failed=0
    )
    query = Query(embedding=np.zeros(0, np.float32), faces=1, warnings=())
    encoded = search_answer(
        found, query, threshold=threshold, operating_point=operating_point, poll_age=0.1, begun=0.0
    )
    check_answer(SearchAnswer.model_validate_json(encoded), threshold=threshold, limit=1000)


def lines_of(stream: StringIO) -> list[dict[str, object]]:
    """What the application logged; httpx, which plays the client here, has lines of its own."""
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in lines if line["logger"] != "httpx"]


@pytest.mark.property(11)
async def test_property_11_every_request_leaves_one_line_without_secrets(
    stack: SearchStack, log_lines: StringIO
) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    face = stack.parts.engine.analyse_selfie(astronaut_png(), max_bytes=10**7, max_pixels=10**7).largest
    assert face is not None
    embedding = face.embedding
    log_lines.truncate(0)
    log_lines.seek(0)
    key = {"X-API-Key": "0123456789abcdef-secret-key"}
    url = "/api/v1/search"
    form = {"data": {"session_id": "s1"}, "headers": key | {"X-Request-ID": "from-pixora.42"}}
    calls = [
        (await stack.client.post(url, files={"file": astronaut_png()}, **form), url, 200, "s1"),
        (await stack.client.post(url, files={"file": astronaut_png()[:1000]}, **form), url, 422, "s1"),
        (await stack.client.post(url, headers=key), url, 422, None),
        (await stack.client.get(f"{url}/status/s2", headers=key), f"{url}/status/{{session_id}}", 200, "s2"),
        (await stack.client.get("/health", headers=key), "/health", 200, None),
        (await stack.client.get("/nowhere/0123456789abcdef", headers=key), "unmatched", 404, None),
        (await stack.client.delete(url, headers=key), url, 405, None),
    ]
    lines = lines_of(log_lines)
    assert {line["event"] for line in lines} == {"request"}
    assert len(lines) == len(calls)
    for line, (response, route, status, session_id) in zip(lines, calls, strict=True):
        assert (line["route"], line["status"], line.get("session_id")) == (route, status, session_id)
        assert line["method"] == response.request.method
        assert line["duration_ms"] > 0
        assert line["request_id"] == response.headers["x-request-id"]
    assert lines[0]["request_id"] == "from-pixora.42"
    assert "secret" not in log_lines.getvalue()
    # without the times: four digits of one are soon four digits of some number
    text = json.dumps([line | {"timestamp": None, "duration_ms": None} for line in lines])
    assert not any(f"{number:.4f}"[1:] in text for number in embedding[abs(embedding) > 0.01][:20])
    assert max(map(len, log_lines.getvalue().splitlines())) < 2000


@pytest.mark.property(11)
async def test_property_11_a_hostile_request_id_is_replaced(stack: SearchStack) -> None:
    for request_id in ["", "a b", 'x"}\n{"event":"forged"', "x" * 129, "идентификатор"]:
        response = await stack.client.get("/health", headers={"X-Request-ID": request_id.encode()})
        assert len(response.headers["x-request-id"]) == 32


@pytest.mark.property(11)
async def test_property_11_a_defect_leaves_one_line_with_its_traceback(
    stack: SearchStack, log_lines: StringIO
) -> None:
    stack.app.add_api_route("/broken", broken, methods=["GET"])
    response = await stack.client.get("/broken")
    assert response.json() == {
        "code": "internal",
        "message": "a defect of FacePass; its log has more under this request's id",
        "details": {},
    }
    (line,) = lines_of(log_lines)
    assert (line["event"], line["level"], line["status"], line["route"]) == ("request", "error", 500, "/broken")
    assert line["request_id"] == response.headers["x-request-id"]
    assert "in broken" in str(line["exception"])


async def broken() -> None:
    raise ZeroDivisionError


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.property(12)
async def test_property_12_every_operation_moves_its_counter_and_histogram(stack: SearchStack) -> None:
    await stack.register("s1", "p1")
    operations = [
        (path, method.upper()) for path, methods in stack.app.openapi()["paths"].items() for method in methods
    ]
    assert len(operations) > 20
    for path, method in operations:
        before = _http_samples(path, method)
        await stack.client.request(method, re.sub(r"{\w+}", "s1", path))
        after = _http_samples(path, method)
        assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1], (path, method)


def _http_samples(route: str, method: str) -> list[float]:
    """Requests counted with any status, and durations measured."""
    labels = {"route": route, "method": method}
    counted = [
        one.value
        for metric in REGISTRY.collect()
        for one in metric.samples
        if one.name == "http_requests_total" and labels.items() <= one.labels.items()
    ]
    return [sum(counted), sample("http_request_duration_seconds_count", **labels)]


@pytest.mark.property(12)
async def test_property_12_every_search_is_counted_by_its_outcome(stack: SearchStack) -> None:
    await stack.register("s1", "p1")
    expected = [
        (("s1", astronaut_png()), "ok"),
        (("s1", coffee_png()), "no_face"),
        (("s1", b"text"), "unsupported_image"),
        (("unknown", astronaut_png()), "session_not_found"),
        (("", astronaut_png()), "invalid_id"),
    ]
    for (session_id, selfie), outcome in expected:
        counted = sample("search_requests_total", outcome=outcome)
        measured = sample("search_duration_seconds_count")
        await stack.search(session_id, selfie)
        assert sample("search_requests_total", outcome=outcome) == counted + 1
        assert sample("search_duration_seconds_count") == measured + 1


@pytest.mark.property(12)
async def test_property_12_callers_cannot_invent_labels(stack: SearchStack) -> None:
    await stack.client.request("INVENTED", "/health")
    await stack.client.get("/invented/path")
    exposed = (await stack.client.get("/metrics")).text
    assert "invented" not in exposed.lower()
    assert sample("http_requests_total", route="unmatched", method="GET", status="404") >= 1


HOSTILE = [
    "'; DROP TABLE sessions; --",
    '" OR 1=1 /*',
    "${jndi:ldap://x}",
    "../../etc/passwd",
    "a/b%2Fc?d#e&f=g+h",
    "\x01\x1b[31m\x7f",
    "line\r\nbreak: x",
    "\u202ecod\u2066.exe",
    "свадьба 💍 e\u0301",
    "\ufffd\U0010ffff",
    "я" * 255,
]


@pytest.mark.property(15)
async def test_property_15_hostile_ids_are_data(stack: SearchStack) -> None:
    for text in HOSTILE:
        await stack.index(text, {text: astronaut_png()})
    for text in HOSTILE:
        found = await stack.search(text, astronaut_png())
        assert [match["photo_id"] for match in found.json()["matches"]] == [text]
        status = SessionStatus.model_validate(
            (await stack.client.get(f"/api/v1/search/status/{quote(text, safe='')}")).json()
        )
        assert (status.session_id, status.photo_count) == (text, 1)


@pytest.mark.property(15)
async def test_property_15_invalid_ids_are_refused_and_not_repeated(stack: SearchStack) -> None:
    for text in ("", "a\x00b", "я" * 256):
        for response in (
            await stack.search(text, astronaut_png()),
            await stack.client.get(f"/api/v1/search/status/{quote(text, safe='')}"),
        ):
            assert (response.status_code, response.json()["code"]) == (422, "invalid_id")
            assert not text or text not in response.text
