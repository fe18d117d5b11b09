"""Face data goes to PostgreSQL alone: all else that was written is searched for vectors and pixels."""

import base64
from collections.abc import Callable
from pathlib import Path

import cv2
import httpx
import numpy as np
import psycopg
import pytest
from faults.scanner import Needles, find, needles
from faults.suite import Scene

TOPICS = (
    "photo-indexed",
    "photo-deleted",
    "session-deleted",
    "session-updated",
    "index-updates",
    "facepass-dead-letters",
)
LARGE = 3_000_000
"""Bytes of the largest selfie: more than any framework keeps in memory by itself."""


def _needles(scene: Scene, selfie: bytes) -> Needles:
    vectors = {
        f"{key}[{number}]": vector
        for key, faces in scene.verifier.reference.items()
        for number, vector in enumerate(faces)
    }
    pictures = {name: one.data for name, one in scene.driver.pictures.items() if one.data and one.people}
    return needles(vectors, {**pictures, "selfie": selfie})


@pytest.mark.timeout(600)
@pytest.mark.property(8)
def test_property_8_face_data_is_written_to_postgresql_alone(scene: Scene) -> None:
    selfie = _large_selfie(scene)
    wanted = _needles(scene, selfie)
    written = scene.world.directory / "written"
    written.touch()
    watch = ("watch", "writes", "1", str(written))
    scene.world.intake(trick=watch, FACEPASS_LOG_LEVEL="debug")
    ingest = scene.world.ingest(trick=watch, FACEPASS_LOG_LEVEL="debug")
    serve = scene.world.serve(trick=watch, FACEPASS_LOG_LEVEL="debug").wait_until_ready()
    sessions = [scene.session("written") for _ in range(2)]
    scene.driver.traffic(sessions, photos=60, label="w")
    scene.driver.poison("photo-indexed", b"poison", ["invalid_event"])
    scene.settle(90)
    _search(scene, serve.url, sessions, selfie)
    # what fails says why, in the log: an outage, in the middle of searches and of writing
    with psycopg.connect(scene.world.postgres.uri, autocommit=True) as connection:
        connection.execute("ALTER TABLE face_embeddings ADD CONSTRAINT planted CHECK (confidence > 2) NOT VALID")
        scene.driver.index(sessions[0], "refused by a constraint", "lisa")
        assert ingest.ended(within=60), "a row that PostgreSQL refuses is a defect, and ends the worker"
        assert "planted" in ingest.log, ingest.tail()
        connection.execute("ALTER TABLE face_embeddings DROP CONSTRAINT planted")
    scene.world.postgres.stop_immediately()
    scene.driver.index(sessions[0], "during the outage", "lisa")
    _search(scene, serve.url, sessions, selfie)
    scene.world.postgres.start()
    scene.world.ingest(trick=watch)
    scene.settle(90)
    scene.check_searches(serve, selfie="lisa")
    found = {str(path): hits for path in _files(scene) if (hits := find(path.read_bytes(), wanted))}
    for topic in TOPICS:
        for record in scene.verifier.records(topic):
            whole = b"\n".join([record.key or b"", record.value or b"", *(value for _, value in record.headers)])
            if hits := find(whole, wanted):
                found[f"{topic}[{record.partition}] {record.offset}"] = hits
    assert not found, found
    allowed = (str(Path.home() / ".cache"), "/dev/", "/proc/", "/sys/", "/memfd:")
    lines = {line for line in written.read_text().splitlines() if "/__pycache__/" not in line}
    opened = {line for line in lines if not line.startswith(allowed)}
    assert not opened, f"opened for writing: {sorted(opened)[:10]}"


@pytest.mark.timeout(600)
def test_the_scanner_finds_what_is_planted(scene: Scene) -> None:
    """The tool itself can fail."""
    wanted = _needles(scene, b"no picture")
    vector = scene.verifier.reference[scene.driver.pictures["lisa"].key][0]
    picture = scene.driver.pictures["lisa"].data
    assert picture is not None
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    plants: dict[str, bytes] = {
        **{kind: vector.astype(kind).tobytes() for kind in ("<f2", ">f2", "<f4", ">f4", "<f8")},
        "text": repr(vector.tolist()).encode(),
        "rounded text": " ".join(f"{number:.4f}" for number in vector).encode(),
        "file": picture,
        "pixels": pixels.tobytes(),
        "mirrored order": pixels[:, :, ::-1].tobytes(),
    }
    encodings: list[Callable[[bytes], bytes]] = [bytes, base64.b64encode, base64.urlsafe_b64encode]
    encodings.append(lambda data: data.hex().encode())
    for name, plant in plants.items():
        for encode in encodings:
            assert find(b'{"event": "x' + encode(plant) + b'"}', wanted), (name, encode)
    assert not find(b"nothing of the kind 0.1 0.2 0.3" * 1000 + bytes(10_000), wanted)


def _files(scene: Scene) -> list[Path]:
    """All that was written, but for PostgreSQL's own directory and the photos; of Kafka the logs themselves."""
    world = scene.world
    mine = {world.postgres.directory, world.directory / "photos"}
    return [
        path
        for path in world.directory.rglob("*")
        if path.is_file()
        and not mine & set(path.parents)
        and not (world.directory / "kafka" in path.parents and path.suffix in {".index", ".timeindex"})
    ]


def _search(scene: Scene, url: str, sessions: list[str], selfie: bytes) -> None:
    for session in sessions:
        scene.verifier.search(url, session, "lisa", threshold=0.0)
        for name in ("file", "image"):
            answer = httpx.post(
                f"{url}/api/v1/search",
                data={"session_id": session},
                files={name: ("selfie.png", selfie, "image/png")},
                timeout=30.0,
            )
            assert answer.status_code in {200, 503}, answer.text


def _large_selfie(scene: Scene) -> bytes:
    """One face among noise, which no compression makes small."""
    data = scene.driver.pictures["eileen"].data
    assert data is not None
    face = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert face is not None
    noise = np.random.default_rng(scene.randomness.getrandbits(32)).integers(0, 256, (1100, 1100, 3), np.uint8)
    noise[100 : 100 + face.shape[0], 100 : 100 + face.shape[1]] = face
    ok, encoded = cv2.imencode(".png", noise)
    assert ok
    assert len(encoded) > LARGE * 0.8
    return encoded.tobytes()
