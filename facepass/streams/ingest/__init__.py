"""Ingest of photo events: fetch, analyse, save rows, publish; and the sweep of what was left. Deletes nothing."""

from facepass.streams.ingest.ingest_process import run_ingest

__all__ = [
    "run_ingest",
]
