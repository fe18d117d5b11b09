"""The rows of the benchmark, a file each: ours and bare, measured in turns."""

from bench.rows.http_figures import http_rows
from bench.rows.ingest_figures import ingest_rows
from bench.rows.intake_figures import intake_rows
from bench.rows.recovery_figures import recovery_rows
from bench.rows.search_figures import search_rows
from bench.rows.searchable_figures import searchable_rows
from bench.rows.shard_figures import shard_rows

__all__ = [
    "http_rows",
    "ingest_rows",
    "intake_rows",
    "recovery_rows",
    "search_rows",
    "searchable_rows",
    "shard_rows",
]
