"""Bringing the database to this version's schema; run at every start, under the write lock."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from broker.db import Database


def config(connection: Connection) -> Config:
    """Alembic's configuration for our migrations on that connection; no file is read."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


async def upgrade(db: Database) -> None:
    """Applies what is missing, all or nothing. Two starting at once take turns."""
    async with db.engine.connect() as connection:
        await connection.execution_options(wio_write=True)
        async with connection.begin():
            if not db.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(7828847)"))
            await connection.run_sync(lambda sync: command.upgrade(config(sync), "head"))
