"""Alembic's entry: runs the migrations on the connection that `migrate` opened."""

from alembic import context

from facepass.storage.migrations import ADVISORY_LOCK, VERSION_TABLE

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, version_table=VERSION_TABLE)
with context.begin_transaction():
    # Two processes that migrate at once take turns; the second finds nothing left to do.
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
    context.run_migrations()
