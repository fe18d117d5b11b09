"""`facepass verify` as a command on the whole system: quiet while it works, loud when something was changed."""

import subprocess
import threading

import psycopg
import pytest
from support.running import Running, found, new_session
from support.samples import astronaut_jpeg, group_jpeg


def verify(running: Running, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return running.facepass("verify", "--replica", running.control, *arguments)


@pytest.fixture(scope="module")
def session(running: Running) -> str:
    """A session with two photos, whose shard is held."""
    session = new_session("verified")
    folder = running.photos / session
    folder.mkdir()
    (folder / "group.jpg").write_bytes(group_jpeg())
    (folder / "astronaut.jpg").write_bytes(astronaut_jpeg())
    running.publish_photos(session, {name: f"{session}/{name}.jpg" for name in ("group", "astronaut")})
    running.wait_until_settled(session, 2)
    assert found(running.search(session, astronaut_jpeg())) == {"astronaut"}
    return session


def test_a_working_system_shows_no_difference(running: Running, session: str) -> None:
    """All sessions and topics of this run, while photos of a searched session are indexed, again and deleted."""
    busy, stop = new_session("busy"), threading.Event()

    def work() -> None:
        for number in range(1000):
            if stop.is_set():
                return
            running.publish_photos(
                busy, {f"p{number}": f"{session}/astronaut.jpg", "again": f"{session}/group.jpg"}
            )
            running.publish("photo-deleted", [(busy, {"session_id": busy, "photo_id": f"p{number - 5}"})])
            while not running.status(busy)["indexed"]:
                stop.wait(0.05)
            running.search(busy, astronaut_jpeg())

    worker = threading.Thread(target=work)
    worker.start()
    try:
        results = [verify(running) for _ in range(2)]
    finally:
        stop.set()
        worker.join()
    for result in results:
        assert result.returncode == 0, result.stdout + result.stderr
        assert "no differences" in result.stdout
        assert "and no shards" not in result.stdout


def test_a_bit_flipped_in_the_database_is_found_and_a_reload_brings_both_together(
    running: Running, session: str
) -> None:
    with psycopg.connect(running.database, autocommit=True) as connection:
        changed = connection.execute(
            "UPDATE face_embeddings SET embedding = ARRAY(SELECT CASE WHEN n = 1 THEN v * 1.001 ELSE v END"
            " FROM unnest(embedding::vector::real[]) WITH ORDINALITY AS e (v, n) ORDER BY n)::halfvec"
            " WHERE session_id = %s AND photo_id = 'astronaut'",
            (session,),
        )
        assert changed.rowcount == 1
    result = verify(running, "--session", session)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert len(lines) == 2, result.stdout
    assert lines[0].startswith(f"shards: {running.control}, session {session!r}: digest of the shard: expected ")
    assert "verify --repair" in lines[0]
    result = verify(running, "--session", session, "--repair")
    assert result.returncode == 1
    assert f"repaired: the shard of session {session!r}" in result.stdout
    result = verify(running, "--session", session)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "compared ledger, topics and 1 shard: no differences\n"


def test_a_counter_changed_in_the_database_is_found(running: Running, session: str) -> None:
    statement = "UPDATE session_generations SET failed = failed + %s WHERE session_id = %s"
    with psycopg.connect(running.database, autocommit=True) as connection:
        connection.execute(statement, (1, session))
        try:
            result = verify(running)
        finally:
            connection.execute(statement, (-1, session))
    assert result.returncode == 1
    named = [line for line in result.stdout.splitlines() if session in line]
    assert len(named) == 1, result.stdout
    assert "counter failed: expected 0, found 1. To do: " in named[0]
