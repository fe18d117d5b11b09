"""`facepass keys` and `facepass sessions link`, as processes on a database of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import cv2
import psycopg
import pytest

from facepass.schemas.callers import Scope
from facepass.schemas.settings import DatabaseSettings
from facepass.search_api.access.session_tokens import read_token
from facepass.storage.callers.api_keys import create_first_key, hash_key, read_keys, revoke_key
from facepass.storage.database import open_database


@pytest.fixture
def facepass(database_settings: DatabaseSettings, tmp_path: Path) -> "Facepass":
    return Facepass(database_settings.database.get_secret_value(), tmp_path)


class Facepass:
    """The command on one database."""

    def __init__(self, database: str, directory: Path) -> None:
        self.database = database
        self._directory = directory

    def __call__(self, *arguments: str, status: int = 0, **settings: str) -> "subprocess.CompletedProcess[str]":
        result = subprocess.run(
            [sys.executable, "-m", "facepass", *arguments],
            env=os.environ | {"FACEPASS_DATABASE": self.database, "COLUMNS": "200"} | settings,
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == status, result.stderr
        assert "Traceback" not in result.stderr
        return result

    def listed(self) -> list[list[str]]:
        """Id, state, scopes and name of each key."""
        rows = [re.split(r" {2,}", line) for line in self("keys", "list").stdout.splitlines()]
        assert rows[0] == ["id", "state", "scopes", "made", "last used", "ends", "name"]
        return [[row[0], row[1], row[2], row[6]] for row in rows[1:]]

    def secret(self) -> bytes:
        with psycopg.connect(self.database) as connection:
            (row,) = connection.execute("SELECT secret FROM token_secrets").fetchall()
        return bytes(row[0])


def made(result: "subprocess.CompletedProcess[str]") -> tuple[str, str]:
    """The key's id and the key."""
    found = re.match(r"key id  (\w+)\napi key (fp_[\w-]{43})\n", result.stdout)
    assert found, result.stdout
    return found[1], found[2]


async def test_keys_are_made_listed_rotated_and_revoked(
    facepass: Facepass, database_settings: DatabaseSettings
) -> None:
    assert facepass.listed() == []
    first_id, first = made(facepass("keys", "create", "pixora production"))
    second_id, second = made(facepass("keys", "create", "ops", "--scope", "read", "--scope", "admin"))
    assert facepass.listed() == [
        [first_id, "valid", "index", "pixora production"],
        [second_id, "valid", "admin,read", "ops"],
    ]
    third_id, third = made(facepass("keys", "rotate", first_id, "--grace-hours", "0"))
    assert len({first, second, third}) == 3
    assert facepass("keys", "revoke", second_id).stdout == f"{second_id} is revoked\n"
    assert facepass.listed() == [
        [first_id, "expired", "index", "pixora production"],
        [second_id, "revoked", "admin,read", "ops"],
        [third_id, "valid", "index", "pixora production"],
    ]
    for key in (first, second, third):
        assert key not in facepass("keys", "list").stdout
    async with open_database(database_settings) as db:
        assert [key.key_hash for key in await read_keys(db)] == [
            hash_key(key.encode()) for key in (first, second, third)
        ]


def test_what_is_wrong_is_said(facepass: Facepass) -> None:
    for arguments in (("revoke", "nonsense"), ("rotate", "nonsense")):
        assert "[key_not_found]" in facepass("keys", *arguments, status=1).stderr
    assert "'index', 'read', 'admin'" in facepass("keys", "create", "x", "--scope", "all", status=2).stderr
    away = facepass("keys", "list", status=1, FACEPASS_DATABASE="postgresql://u:hunter2@127.0.0.1:1/d").stderr
    assert "[database_unavailable]" in away
    assert "hunter2" not in away


async def test_the_first_key_is_made_once_for_good(database_settings: DatabaseSettings) -> None:
    async with open_database(database_settings) as db:
        first = await create_first_key(db, "first", [Scope.ADMIN])
        assert first is not None
        assert await create_first_key(db, "again", [Scope.ADMIN]) is None
        await revoke_key(db, first.key_id)
        assert await create_first_key(db, "again", [Scope.ADMIN]) is None


@pytest.mark.parametrize("name", ["qr.png", "qr.svg"])
def test_a_link_opens_the_sessions_page_and_its_qr_code_holds_it(
    facepass: Facepass, tmp_path: Path, name: str
) -> None:
    session = "Свадьба 9/5 ?#"
    result = facepass("sessions", "link", session, "--qr", name, FACEPASS_PUBLIC_URL="https://photos.example/")
    (link,) = result.stdout.splitlines()
    path, _, token = link.partition("#token=")
    assert path.startswith("https://photos.example/api/v1/sessions/")
    assert path.endswith("/interface")
    encoded = path.removeprefix("https://photos.example/api/v1/sessions/").removesuffix("/interface")
    assert unquote(encoded) == session
    assert not set("/?#") & set(encoded)
    assert read_token(facepass.secret(), token) == session
    assert "nothing is known of this session yet" in result.stderr
    if name.endswith(".png"):
        found, *_ = cv2.QRCodeDetector().detectAndDecode(cv2.imread(str(tmp_path / name)))
        assert found == link
    else:
        assert "<svg" in (tmp_path / name).read_text()


def test_a_link_without_settings_is_for_this_machine_and_expires_as_told(facepass: Facepass) -> None:
    link = facepass("sessions", "link", "s1", "--days", "0.5").stdout.strip()
    assert link.startswith("http://localhost:8000/api/v1/sessions/s1/interface#token=")
    before = facepass.secret()
    facepass("sessions", "link", "s1")
    assert facepass.secret() == before


def test_an_unusable_qr_file_is_named(facepass: Facepass, tmp_path: Path) -> None:
    assert "must end in .png or .svg" in facepass("sessions", "link", "s", "--qr", "qr.jpg", status=1).stderr
    assert "No such file" in facepass("sessions", "link", "s", "--qr", "no/such/qr.png", status=1).stderr
    long = "\U0001f600" * 255
    assert "more than a QR code holds" in facepass("sessions", "link", long, "--qr", "qr.png", status=1).stderr
    assert list(tmp_path.iterdir()) == []
