"""Sessions created, searched and deleted for minutes: memory and file descriptors level off."""

import os
import statistics
import time
from collections import defaultdict

import psutil
import pytest
from faults.processes import STARTS_WITHIN, Process
from faults.suite import Scene

SECONDS = float(os.environ.get("FACEPASS_SOAK_SECONDS", "180"))
EVERY = 2.0
GROWTH = 1.05
SLACK_MB = 12.0
"""Of memory in the last third against the middle one: allocators and caches never stand quite still."""
SLACK_FILES = 8
SETTLES_WITHIN = 90.0


@pytest.mark.timeout(SECONDS + 2 * STARTS_WITHIN + 2 * SETTLES_WITHIN)
def test_memory_and_file_descriptors_level_off(scene: Scene, figures: list[str]) -> None:
    processes = [scene.world.intake(), scene.world.ingest(), scene.world.serve(FACEPASS_SHARD_MEMORY_MB="16")]
    for process in processes:
        process.wait_until_ready()
    serve, driver = processes[2], scene.driver
    memory: dict[str, list[float]] = defaultdict(list)
    files: dict[str, list[int]] = defaultdict(list)
    begun, looked, old = time.monotonic(), 0.0, list[str]()
    while time.monotonic() - begun < SECONDS:
        session = scene.session("churn")
        driver.index_many([(session, f"photo-{number}", "lisa") for number in range(4)])
        old.append(session)
        for one in old[-3:]:
            scene.verifier.search(serve.url, one, "lisa")
        if len(old) > 10:
            driver.delete_session(old.pop(0))
        if time.monotonic() - looked > EVERY:
            looked = time.monotonic()
            for process in processes:
                memory[process.name].append(_private_mb(process))
                files[process.name].append(psutil.Process(process.child.process.pid).num_fds())
    scene.settle(SETTLES_WITHIN)
    assert scene.compare(serve)
    figures.append(f"churn: {len(scene.table.sessions)} sessions in {SECONDS:.0f} s; medians of each third:")
    for process in processes:
        first, middle, last = _thirds(memory[process.name])
        files_first, files_middle, files_last = _thirds(files[process.name])
        figures.append(
            f"  {process.name}: {first:.0f}, {middle:.0f}, {last:.0f} MB,"
            f" {files_first:.0f}, {files_middle:.0f}, {files_last:.0f} files"
        )
        assert last <= GROWTH * middle + SLACK_MB, memory[process.name]
        assert files_last <= files_middle + SLACK_FILES, files[process.name]


def _private_mb(process: Process) -> float:
    return float(psutil.Process(process.child.process.pid).memory_full_info().uss) / 2**20


def _thirds(values: list[float] | list[int]) -> tuple[float, float, float]:
    third = len(values) // 3
    return (
        statistics.median(values[:third]),
        statistics.median(values[third : 2 * third]),
        statistics.median(values[2 * third :]),
    )
