"""Alembic migrations, run when the broker starts."""
