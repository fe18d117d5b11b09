"""The command line: help everywhere, and one clear line for what goes wrong."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from facepass.cli.command_line import app
from facepass.cli.commands.bench_command import add_bench
from facepass.cli.commands.local_commands import KafkaName
from facepass.cli.unknown_settings import unknown_settings
from facepass.local.kafka_kinds import KafkaKind
from facepass.schemas.errors import ErrorCode, PermanentError

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "Makefile")


def _facepass(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "facepass", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def _commands() -> dict[str, set[str]]:
    """Every command, with its options."""
    root = typer.main.get_command(app)
    found = {}
    pending = [("", root)]
    while pending:
        path, command = pending.pop()
        found[path] = {option for one in command.params for option in one.opts}
        pending += [(f"{path} {name}".strip(), sub) for name, sub in getattr(command, "commands", {}).items()]
    return found


@pytest.mark.parametrize("path", [path for path in _commands() if path])
def test_every_command_and_option_explains_itself(path: str) -> None:
    result = CliRunner().invoke(app, [*path.split(), "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    command = typer.main.get_command(app)
    for name in path.split():
        command = command.commands[name]  # type: ignore[attr-defined]
    assert command.help
    for option in command.params:
        assert option.help, f"{path} {option.opts}"  # type: ignore[attr-defined]


def test_every_command_of_the_design_is_there() -> None:
    expected = [
        "migrate",
        "topics create",
        "intake",
        "ingest",
        "serve",
        "dev",
        "demo",
        "bench",
        "doctor",
        "settings",
    ]
    assert set(expected) <= set(_commands())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_only_commands_and_options_that_exist(document: str) -> None:
    commands = _commands()
    text = (ROOT / document).read_text().replace("\n", " ")
    for call in re.findall(
        r"(?:`|bin/|\$\(BIN\)/)facepass ((?:[a-z]+(?: |`|$))+)((?:--[a-z-]+(?: [^-`#\s]+)?\s?)*)", text
    ):
        words = call[0].strip("` ").split()
        path = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in commands), None)
        assert path, f"{document}: facepass {' '.join(words)}"
        assert set(re.findall(r"--[a-z-]+", call[1])) <= commands[path], f"{document}: {path} {call[1]}"


def test_the_command_line_begins_without_what_its_commands_run() -> None:
    """So that `--help` answers at once; and a process in production never imports what only dev and demo run."""
    script = (
        "import sys; import facepass.cli; print(*{name for name in sys.modules if name.startswith('facepass.')})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    rooms = {".".join(name.split(".")[:3]) for name in done.stdout.split() if name != "facepass.cli"}
    commands = {"facepass.cli.command_line", "facepass.cli.commands"}
    helpers = {"facepass.cli.exit_statuses", "facepass.cli.unknown_settings"}
    contracts = {room for room in rooms if room.startswith("facepass.schemas")}
    assert rooms == commands | helpers | contracts
    assert "facepass.schemas.logs" not in contracts, "structlog takes as long as all the rest"


def test_the_brokers_of_the_options_are_those_that_there_are() -> None:
    assert set(get_args(KafkaName)) == set(KafkaKind)


@pytest.mark.parametrize("arguments", [[], ["shard", "--quick", "--json"]])
def test_without_the_source_tree_bench_says_that_it_needs_it(arguments: list[str], tmp_path: Path) -> None:
    installed = typer.Typer(pretty_exceptions_enable=False)
    installed.callback()(lambda: None)
    add_bench(installed, tmp_path)
    with pytest.raises(PermanentError, match="needs the source tree") as caught:
        CliRunner().invoke(installed, ["bench", *arguments], catch_exceptions=False)
    assert caught.value.code is ErrorCode.INVALID_SETTING


def test_an_unreachable_broker_is_one_line_with_its_code() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    result = _facepass("topics", "create", FACEPASS_KAFKA=address)
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(r"facepass: .*\[broker_unavailable\].*FACEPASS_KAFKA.*\n", result.stderr)


def test_an_unreachable_database_is_one_line_without_the_password() -> None:
    result = _facepass("migrate", FACEPASS_DATABASE="postgresql://me:hunter2@127.0.0.1:1/x")
    assert result.returncode == 1
    assert re.fullmatch(r"facepass: .*\[database_unavailable\].*FACEPASS_DATABASE.*\n", result.stderr)
    assert "hunter2" not in result.stderr


def test_a_bad_setting_is_named() -> None:
    result = _facepass("topics", "create", FACEPASS_TOPIC_PARTITIONS="many")
    assert result.returncode == 1
    assert "FACEPASS_TOPIC_PARTITIONS" in result.stderr
    assert "[invalid_setting]" in result.stderr
    assert "many" not in result.stderr


def test_a_misspelt_setting_is_named() -> None:
    result = _facepass("settings", FACEPASS_KAFAK="x")
    assert "FACEPASS_KAFAK is no setting, did you mean FACEPASS_KAFKA?" in result.stderr
    assert result.returncode == 0


def test_only_strangers_are_unknown_settings() -> None:
    theirs = {"FACEPASS_SERVICE_HOST": "", "FACEPASS_PORT_80_TCP": "", "FACEPASS_NO_SKIP": "", "PATH": ""}
    assert unknown_settings(theirs | {"FACEPASS_KAFKA": ""}) == []
    assert len(unknown_settings({"FACEPASS_XYZZY": ""})) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["dev", "--port", "70000"], "--port"),
        (["dev", "--photos", "no-such-directory"], "--photos: there is no directory no-such-directory"),
        (["demo", "--photos", "."], "--photos and --selfie belong together"),
        (["demo", "--photos", ".", "--selfie", "no-such-file"], "--selfie"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], told: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "facepass", *arguments]
    environment = os.environ | {"COLUMNS": "200"}
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode > 0
    assert told in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "option"), [("serve", "--port"), ("dev", "--port"), ("dev", "--kafka-port")])
def test_a_port_in_use_is_named(command: str, option: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        arguments = [command, option, str(port)]
        if command == "dev":
            arguments += ["--photos", str(tmp_path), "--data-dir", str(tmp_path / "data")]
            if option != "--port":
                arguments += ["--port", str(_free())]
        result = _facepass(*arguments)
    assert result.returncode == 1
    assert f"{option}: cannot listen on 127.0.0.1:{port}" in result.stderr
    assert not (tmp_path / "data").exists()


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", _facepass("--version").stdout)
