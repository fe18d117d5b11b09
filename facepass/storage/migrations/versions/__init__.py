"""The migrations, each a number, its statements up and down, and two lines that name them to Alembic."""
