"""A process that crashes with a selfie in its memory leaves no core file."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_CORE, (2**20, 2**30))
from facepass.cli.running.core_dumps import forbid_core_dumps
forbid_core_dumps()
print(*resource.getrlimit(resource.RLIMIT_CORE), flush=True)
subprocess.run([sys.executable, "-c", "import resource; print(*resource.getrlimit(resource.RLIMIT_CORE))"])
"""


def test_neither_the_process_nor_its_children_write_core_files() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["0 0", "0 0"]


@pytest.mark.parametrize(("module", "function"), [("serving", "serve"), ("workers", "ingest")])
def test_processes_that_hold_pictures_begin_with_that(module: str, function: str) -> None:
    """Ended by a setting that is read right behind: nothing was opened before."""
    script = f"""
import asyncio, resource
from facepass.cli.running.{module} import {function}
from facepass.schemas.errors import PermanentError
try:
    asyncio.run({function}({"'127.0.0.1', 0" if function == "serve" else "None"}))
except PermanentError as exc:
    print(exc.code, *resource.getrlimit(resource.RLIMIT_CORE))
"""
    environment = {"FACEPASS_DATABASE_POOL_SIZE": "none", "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == "invalid_setting 0 0\n"
