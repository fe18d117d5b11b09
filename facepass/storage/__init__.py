"""The connection to PostgreSQL, the generation that a process works with, and the named statements of `sql/`.

The rooms inside hold the rest: `writes`, `reads`, `shards`, `photos`, `callers`, `migrations`. Nothing here
knows of Kafka or HTTP.
"""

from facepass.storage.database import Connection, Database, open_database
from facepass.storage.generations import Generation, Store, find_store, open_store
from facepass.storage.statements import load_statements

__all__ = [
    "Connection",
    "Database",
    "Generation",
    "Store",
    "find_store",
    "load_statements",
    "open_database",
    "open_store",
]
