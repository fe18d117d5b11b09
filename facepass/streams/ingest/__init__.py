"""Turns photo events into rows: fetch, analyse, save, publish; and the sweep of what was left. Deletes nothing."""

from facepass.streams.ingest.ingest_process import run_ingest

__all__ = [
    "run_ingest",
]
