"""The processes that consume: intake, ingest, and the follower of a serving process.

Correctness never rests here: offsets follow the transactions of `storage.writes`.
"""

from facepass.streams.follower import build_follower

__all__ = [
    "build_follower",
]
