"""The durable truth: SQLite by default, Postgres when asked; one writer at a time.

Every change takes one global lock, so a decision and the change that follows from it see the same state
(overlap of prefixes, reshare trees, the audit chain), and outbox rows are numbered in commit order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, BigInteger, Integer, MetaData, event, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry

#: The lock's number among Postgres's advisory locks: "wio" in ASCII.
_ADVISORY_LOCK = 0x77696F
#: The number of the lock under which the live state is rebuilt.
_REBUILD_LOCK = _ADVISORY_LOCK + 2
#: SQLite numbers rows by itself only for a plain INTEGER; Postgres needs the wide one.
BigId = BigInteger().with_variant(Integer(), "sqlite")


#: Ids in one query: well below what SQLite and Postgres take as parameters.
BATCH = 1000


def batches(ids: Iterable[str]) -> Iterator[list[str]]:
    """The distinct ids in order, as many as one query may name."""
    every = sorted(set(ids))
    for start in range(0, len(every), BATCH):
        yield every[start : start + BATCH]


class Base(DeclarativeBase):
    """The tables of the control plane. Times are integer milliseconds, UTC; ids 16 characters."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON, int: BigInteger}  # noqa: RUF012 - SQLAlchemy's own


class Database:
    """An engine, and the two ways to use it: `read` and `write`."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = create_async_engine(url, **({} if self.is_sqlite else {"pool_pre_ping": True}))
        # Waiting here rather than in SQLite's busy loop keeps writers in order and never times one out.
        self._writer = asyncio.Lock()
        self._alone = asyncio.Lock()
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session on one consistent snapshot; nothing it does is kept."""
        async with AsyncSession(self.engine, expire_on_commit=False, autoflush=False) as session:
            if not self.is_sqlite:
                await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session under the global write lock; commits at the end, rolls back on any exception."""
        async with (
            self._writer,
            AsyncSession(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            options: dict[str, Any] = {"wio_write": True}
            if not self.is_sqlite:
                # What is read after the lock must be what was committed before it, however the server is set up.
                options["isolation_level"] = "READ COMMITTED"
            await session.connection(execution_options=options)
            if not self.is_sqlite:
                await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
            yield session

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """One such block at a time among all brokers on this database, beside any number of reads and writes.

        A broker that dies or loses its connection lets the next one in.
        """
        async with self._alone:
            if self.is_sqlite:
                # One broker has the file.
                yield
                return
            async with self.engine.begin() as connection:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _REBUILD_LOCK})
                yield

    async def aclose(self) -> None:
        """Closes every connection."""
        await self.engine.dispose()


def _prepare_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN is deferred and skipped before reads; ours is emitted by _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "busy_timeout=30000", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("wio_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
