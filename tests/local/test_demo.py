"""The demo as a process: exit status, tables and contact sheet."""

import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from facepass.local.demo.samples import write_samples


def _demo(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "facepass", "demo", "--exit", *arguments]
    (cwd / "tmp").mkdir(exist_ok=True)
    environment = os.environ | {"TMPDIR": str(cwd / "tmp"), "COLUMNS": "120"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_samples_are_found_shown_and_drawn(tmp_path: Path) -> None:
    result = _demo(cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "17 photos: 15 indexed, 2 no_face" in result.stdout
    titles = re.findall(r"selfie: (.+) \((\d+) photos", result.stdout)
    assert titles == [("the astronaut", "6"), ("first from the left", "8"), ("third from the left", "8")]
    assert re.search(r"photo .*similarity .*confidence .*faces", result.stdout)
    assert re.search(r"astronaut-with-left .* 0\.9\d\d .* 0\.9\d\d .* 4 ", result.stdout)
    assert result.stdout.count("found all") == 3
    assert re.search(r"http://127\.0\.0\.1:\d+/docs", result.stdout)
    with Image.open(tmp_path / "demo-result.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1000
        assert sheet.height > 1000
        frames = [count for count, colour in sheet.getcolors(1 << 24) if colour == (255, 176, 0)]
    assert sum(frames) > 22 * 100, "every match has its face framed"
    assert list((tmp_path / "tmp").iterdir()) == [], "the temporary directory is removed"


def test_own_photos_and_a_selfie_without_a_face(tmp_path: Path) -> None:
    session = write_samples(tmp_path)
    mine = tmp_path / "mine"
    (mine / "day 1").mkdir(parents=True)
    (session.photos_dir / "group.jpg").rename(mine / "day 1" / "группа.jpg")
    (session.photos_dir / "cat.jpg").rename(mine / "cat.jpg")
    (mine / "broken.jpg").write_bytes(b"no picture")
    selfies = ["--selfie", str(session.selfies[1].path), "--selfie", str(mine / "cat.jpg")]
    result = _demo("--photos", str(mine), *selfies, "--output", "sheet.png", cwd=tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "3 photos: 1 indexed, 1 no_face, 1 failed" in result.stdout
    assert "broken.jpg: unsupported_image" in result.stdout
    assert re.search(r"day 1/группа\.jpg .* 6 ", result.stdout)
    assert re.search(r"selfie: cat\.jpg: .*\[no_face\]", result.stdout)
    assert (tmp_path / "sheet.png").exists()
