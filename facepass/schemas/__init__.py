"""Every contract between the parts: ids, events, faces, ledger, HTTP bodies, errors, settings, metrics, logs.

Imports nothing else of FacePass. Here, and in `http`, the files are the doors: each is one contract,
and is imported by its own name.
"""

__all__ = [
    "callers",
    "error_table",
    "errors",
    "events",
    "faces",
    "http",
    "ids",
    "ledger",
    "logs",
    "metrics",
    "settings",
    "similarity",
]
