"""The life of a consuming process: start, stop, waiting for what is absent, watchdog, probes, retention gaps.

Knows no event and no row.
"""

from facepass.streams.process.retention_gaps import skip_retention_gaps
from facepass.streams.process.retry import for_a_while, until_available
from facepass.streams.process.watchdog import Watchdog
from facepass.streams.process.worker import Worker, open_stores, open_waiting, stop_on_signals
from facepass.streams.process.worker_probes import open_probes

__all__ = [
    "Watchdog",
    "Worker",
    "for_a_while",
    "open_probes",
    "open_stores",
    "open_waiting",
    "skip_retention_gaps",
    "stop_on_signals",
    "until_available",
]
