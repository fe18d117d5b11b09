"""The processes: intake, ingest and serve, put together from their parts and ended for certain.

The one place where `streams` and `search_api` meet.
"""

from facepass.cli.running.serving import serve
from facepass.cli.running.workers import ingest, intake, run_worker

__all__ = [
    "ingest",
    "intake",
    "run_worker",
    "serve",
]
