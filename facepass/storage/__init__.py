"""The connection to PostgreSQL, the generation that a process works with, and the named statements of `sql/`.

The rooms inside hold the rest: `writes`, `reads`, `shards`, `photos`, `callers`, `migrations`. Nothing here
knows of Kafka or HTTP.
"""

from facepass.storage.database import Connection, Database, open_database
from facepass.storage.generations import Generation, find_generation, open_generation
from facepass.storage.statements import load_statements

__all__ = [
    "Connection",
    "Database",
    "Generation",
    "find_generation",
    "load_statements",
    "open_database",
    "open_generation",
]
