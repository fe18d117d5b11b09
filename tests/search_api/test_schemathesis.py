"""The whole OpenAPI document against the running system: schemathesis makes requests from it, good and bad."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from facepass.local.ports import free_port
from facepass.local.stack import Stack, StackOptions, local_stack

SEED = os.environ.get("FACEPASS_SCHEMATHESIS_SEED", "1")
EXAMPLES = os.environ.get("FACEPASS_SCHEMATHESIS_EXAMPLES", "5")
"""Random requests of an operation, beside the hundreds that go systematically through its schema's bounds."""

API_KEY = secrets.token_urlsafe(32)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A system of its own: without limits, and with short waits for photos that no store has."""
    options = StackOptions(
        host="127.0.0.1",
        port=free_port(),
        kafka_port=free_port(),
        data_dir=tmp_path_factory.mktemp("stack"),
        photos=str(tmp_path_factory.mktemp("photos")),
        settings={
            "FACEPASS_API_KEYS": API_KEY,
            "FACEPASS_LIMIT_INDEX": "off",
            "FACEPASS_LIMIT_SEARCH": "off",
            "FACEPASS_INDEX_WAIT_SECONDS": "1",
            "FACEPASS_BATCH_WAIT_PER_PHOTO_SECONDS": "0.1",
            "FACEPASS_POLL_SECONDS": "0.2",
        },
    )
    with local_stack(options, report=lambda _: None) as running:
        yield running


@pytest.mark.timeout(600)
def test_every_operation_keeps_what_the_document_says(stack: Stack, tmp_path: Path) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
            *("run", f"{stack.http}/openapi.json", "--checks", "all", "--phases", "examples,coverage,fuzzing"),
            *("--include-path-regex", "^/(?!api/v1/)", "--header", f"X-API-Key: {API_KEY}"),
            *("--max-examples", EXAMPLES, "--seed", SEED, "--no-shrink", "--continue-on-failure"),
            *("--generation-database", "none", "--request-timeout", "120", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
    stack.check()


def test_both_versions_of_the_api_are_the_same(stack: Stack) -> None:
    paths = httpx.get(f"{stack.http}/openapi.json").json()["paths"]
    versions = [
        {path.removeprefix(prefix): sorted(methods) for path, methods in paths.items() if path.startswith(prefix)}
        for prefix in ("/api/v1/", "/api/v2/")
    ]
    assert versions[0] == versions[1]
    assert len(versions[0]) > 15
