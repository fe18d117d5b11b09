"""Turns photo events into rows: fetch, analyse, save, publish; and the sweep of what was left. Deletes nothing."""

from facepass.streams.ingest.ingest_process import run_ingest
from facepass.streams.ingest.pipeline import Outlet, send_dead_letter

__all__ = [
    "Outlet",
    "run_ingest",
    "send_dead_letter",
]
