"""`facepass sessions`: what an operator sees of a session, and the receipt of a deletion."""

import pytest
from support.running import Running, found, new_session
from support.samples import astronaut_jpeg, group_jpeg


@pytest.fixture(scope="module")
def session(running: Running) -> str:
    """A session with two photos of the same group, one of the astronaut, and one that is no picture."""
    session = new_session("operators")
    folder = running.photos / session
    folder.mkdir()
    (folder / "group.jpg").write_bytes(group_jpeg())
    (folder / "astronaut.jpg").write_bytes(astronaut_jpeg())
    (folder / "broken.jpg").write_bytes(b"no picture")
    keys = {name: f"{session}/{name}.jpg" for name in ("group", "astronaut", "broken")}
    running.publish_photos(session, keys | {"missing": f"{session}/missing.jpg"})
    running.wait_until_settled(session, 2)
    return session


def test_show_prints_the_ledger_and_why_photos_failed(running: Running, session: str) -> None:
    result = running.facepass("sessions", "show", session)
    assert result.returncode == 0, result.stderr
    for expected in ("7 on 2 photos", "unsupported_image", "photo_not_found", "photo-indexed["):
        assert expected in result.stdout, result.stdout


def test_show_and_delete_of_what_is_unknown_say_so(running: Running, session: str) -> None:
    for arguments in (["show", "nobody"], ["delete", "nobody"], ["delete", session, "--photo", "nobody"]):
        result = running.facepass("sessions", *arguments)
        assert result.returncode == 1
        assert "not_found" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_deleted_photo_and_then_the_session_are_gone_when_the_receipt_is_printed(
    running: Running, session: str
) -> None:
    assert found(running.search(session, astronaut_jpeg())) == {"astronaut"}

    result = running.facepass("sessions", "delete", session, "--photo", "astronaut")
    assert result.returncode == 0, result.stderr
    assert "removed        1 embeddings of 1 photos" in result.stdout
    assert found(running.search(session, astronaut_jpeg())) == set()

    result = running.facepass("sessions", "delete", session)
    assert result.returncode == 0, result.stderr
    assert "removed        6 embeddings of 3 photos" in result.stdout
    with pytest.raises(AssertionError, match="session_not_found"):
        running.search(session, astronaut_jpeg())

    # an old event that is delivered again brings nothing back
    running.publish(
        "photo-indexed",
        [
            (
                "astronaut",
                {"photo_id": "astronaut", "session_id": session, "s3_key": f"{session}/astronaut.jpg"}
                | {"occurred_at": "2026-01-01T00:00:00Z"},
            )
        ],
    )
    again = new_session("after")
    running.publish_photos(again, {"p": f"{session}/astronaut.jpg"})
    running.wait_until_settled(again, 1)
    assert running.status(session)["photo_count"] == 0
