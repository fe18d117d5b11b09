"""All tables of the first release."""

from facepass.storage.migrations import run_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_file("0001_tables.up.sql")


def downgrade() -> None:
    run_file("0001_tables.down.sql")
