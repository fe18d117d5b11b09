"""What the whole HTTP API keeps: API keys, idempotent calls, uploads, legacy events."""

from facepass.storage.migrations import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_file("0002_callers.up.sql")


def downgrade() -> None:
    run_file("0002_callers.down.sql")
