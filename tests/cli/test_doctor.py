"""`facepass doctor` says what is wrong and how to mend it, and changes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from facepass.schemas.settings import DatabaseSettings


def _doctor(**environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "facepass", "doctor"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_what_is_wrong_comes_with_how_to_mend_it(kafka: str, tmp_path: Path) -> None:
    result = _doctor(
        FACEPASS_DATABASE="postgresql://me:hunter2@127.0.0.1:1/x",
        FACEPASS_KAFKA=kafka,
        FACEPASS_PHOTOS=str(tmp_path / "absent"),
        FACEPASS_TOPIC_PARTITIONS="0",
        FACEPASS_KAFAK="x",
    )
    assert result.returncode == 1
    assert "hunter2" not in result.stdout + result.stderr
    report = result.stdout.splitlines()
    for subject, code, mend in (
        ("PostgreSQL", "database_unavailable", "set FACEPASS_DATABASE"),
        ("settings", "invalid_setting", "facepass settings"),
        ("photos", "store_unavailable", "set FACEPASS_PHOTOS"),
    ):
        at = next(n for n, line in enumerate(report) if line.split()[:2] == ["wrong", subject])
        assert f"[{code}]" in report[at]
        assert mend in report[at + 1]
    assert any("FACEPASS_KAFAK is no setting" in line for line in report)


def test_all_is_well_on_prepared_stores(database_settings: DatabaseSettings, kafka: str, tmp_path: Path) -> None:
    environment = {
        "FACEPASS_DATABASE": database_settings.database.get_secret_value(),
        "FACEPASS_KAFKA": kafka,
        "FACEPASS_PHOTOS": str(tmp_path),
    }
    command = [sys.executable, "-m", "facepass", "topics", "create"]
    subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
    result = _doctor(**environment)
    assert result.returncode == 0, result.stdout
    assert "wrong" not in result.stdout
    assert "pack starter" in result.stdout
    with psycopg.connect(database_settings.database.get_secret_value()) as connection:
        assert connection.execute("SELECT count(*) FROM generations").fetchone() == (0,), "it only looks"
