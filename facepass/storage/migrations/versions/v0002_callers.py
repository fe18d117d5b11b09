"""The tables of the whole HTTP API: API keys, idempotent calls, uploads, legacy events."""

from facepass.storage.migrations import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables of the whole HTTP API."""
    run_file("0002_callers.up.sql")


def downgrade() -> None:
    """Remove these tables, with all that they hold."""
    run_file("0002_callers.down.sql")
