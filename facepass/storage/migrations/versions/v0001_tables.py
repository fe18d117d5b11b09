"""All tables of the first release."""

from facepass.storage.migrations import run_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables of the first release."""
    run_file("0001_tables.up.sql")


def downgrade() -> None:
    """Remove these tables, with all that they hold."""
    run_file("0001_tables.down.sql")
