"""The connection to PostgreSQL, and the generation that a process works with.

The rooms inside hold the rest: `writes`, `reads`, `shards`, `photos`, `callers`, `migrations`. The statements
stand in `sql/`. Nothing here knows of Kafka or HTTP.
"""

from facepass.storage.database import Connection, Database, open_database
from facepass.storage.generations import Generation, Store, find_store, open_store

__all__ = [
    "Connection",
    "Database",
    "Generation",
    "Store",
    "find_store",
    "open_database",
    "open_store",
]
