"""One session's vectors in memory: loaded, searched, brought forward, and the lease that lets a process answer.

PostgreSQL is the only source of what a shard holds; nothing here writes a row of a photo, and nobody else imports
FAISS.
"""

from facepass.storage.shards.deltas import read_delta
from facepass.storage.shards.lease import LEASE_MARGIN_SECONDS, wait_until_unserved
from facepass.storage.shards.replica import Replica
from facepass.storage.shards.shard import Match, Ranking, Shard, ShardAnswer
from facepass.storage.shards.shards import Shards

__all__ = [
    "LEASE_MARGIN_SECONDS",
    "Match",
    "Ranking",
    "Replica",
    "Shard",
    "ShardAnswer",
    "Shards",
    "read_delta",
    "wait_until_unserved",
]
