"""From SQL to the live state: what is committed is applied, in order, once or more (protocol, rule 1).

A change commits with its outbox rows; `Outbox.drain` applies rows not yet applied, batch by batch, and
notes the revocation number that each batch got. Applying twice is harmless: records compare versions, and
a second revocation of the same name only gets a higher number.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import structlog
from redis.exceptions import RedisError
from sqlalchemy import JSON, Boolean, Index, String, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from broker.db import Base, BigId, Database
from broker.errors import not_applied
from broker.times import now_ms
from quota import Acks, Change, LiveStateError, NotReady

#: Rows (and with them the tombstones that a rebuild needs) are kept this long after they were applied.
RETENTION_MS = 30 * 86_400_000
#: How long a command waits for a live state that is just being rebuilt before it answers 503.
PATIENCE_SECONDS = 10.0
#: What the live state raises when it cannot be reached or is not ready.
OUTAGES = (RedisError, LiveStateError, OSError, TimeoutError)

Kind = Literal["user", "workspace", "grant", "credential", "node", "limit"]
_log = structlog.get_logger(__name__)


class Live(Protocol):
    """What the broker asks of the live state when it applies changes; `quota.LiveState` is one."""

    async def apply(self, changes: Sequence[Change], revoke: Sequence[str] = ()) -> int:
        """Applies by version, and returns the revocation's number, 0 for none."""

    async def await_acks(self, number: int) -> Acks:
        """Returns when every live worker applied `number`, or its lease has run out."""


class OutboxRow(Base):
    """One record's new value (null: deleted) or, with kind `revoke`, one name to revoke. `id` = version."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_applied", "applied", "id"),
        Index("ix_outbox_record", "kind", "record_id"),
        # Without it SQLite may give the number of a pruned row to a new one, and versions must only rise.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    batch: Mapped[str] = mapped_column(String(16), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    record_id: Mapped[str] = mapped_column(String(200))
    value: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    applied: Mapped[bool] = mapped_column(Boolean, default=False)
    revocation: Mapped[int | None]
    at: Mapped[int]


@dataclass(frozen=True, slots=True)
class Entry:
    """What one transaction wants applied: a record's value or a name to revoke."""

    kind: Kind | Literal["revoke"]
    id: str
    value: dict[str, Any] | None = None


def write_entries(session: AsyncSession, batch: str, entries: Sequence[Entry]) -> None:
    """Adds the entries as rows of one batch; they commit, or not, with everything else in the session."""
    at = now_ms()
    session.add_all(
        OutboxRow(batch=batch, kind=entry.kind, record_id=entry.id, value=entry.value, at=at)
        for entry in entries
    )


class Outbox:
    """Applies committed batches. One per process; several processes may drain the same table."""

    def __init__(self, db: Database, live: Live) -> None:
        self._db = db
        self._live = live
        self._draining = asyncio.Lock()

    async def settle(self, batch: str) -> Acks | None:
        """Applies everything up to `batch`, and waits for the workers when it revoked something.

        Returns None when nothing was revoked. Raises ApiError (503) when the live state does not answer:
        the batch stays recorded, and `drain` applies it later.
        """
        try:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + PATIENCE_SECONDS
            while not await self._try_drain(last=loop.time() > deadline):  # noqa: ASYNC110 - it is Redis that is waited for
                await asyncio.sleep(0.1)
            number = await self._number_of(batch)
            return await self._live.await_acks(number) if number else None
        except OUTAGES as error:
            _log.warning("outbox.not_applied", batch=batch, error=type(error).__name__)
            raise not_applied() from error

    async def _try_drain(self, *, last: bool) -> bool:
        try:
            await self.drain()
        except NotReady:
            if last:
                raise
            return False
        return True

    async def drain(self) -> int:
        """Applies all rows not yet applied, oldest first; returns how many. Raises what the live state raises."""
        applied = 0
        async with self._draining:
            while rows := await self._pending():
                for batch, members in itertools.groupby(rows, key=lambda row: row.batch):
                    applied += await self._apply(batch, list(members))
        return applied

    async def _pending(self) -> list[OutboxRow]:
        async with self._db.read() as session:
            found = await session.scalars(
                select(OutboxRow).where(OutboxRow.applied.is_(False)).order_by(OutboxRow.id).limit(2000)
            )
            rows = list(found)
        if len(rows) == 2000:
            # A batch is applied whole or not at all: leave a cut one for the next turn, unless it is alone.
            whole = [row for row in rows if row.batch != rows[-1].batch]
            rows = whole or await self._whole_batch(rows[-1].batch)
        return rows

    async def _whole_batch(self, batch: str) -> list[OutboxRow]:
        async with self._db.read() as session:
            found = await session.scalars(
                select(OutboxRow).where(OutboxRow.batch == batch).order_by(OutboxRow.id)
            )
            return list(found)

    async def _apply(self, batch: str, rows: list[OutboxRow]) -> int:
        changes = [
            Change(row.kind, row.record_id, row.id, row.value)  # type: ignore[arg-type]
            for row in rows
            if row.kind != "revoke"
        ]
        number = await self._live.apply(changes, [row.record_id for row in rows if row.kind == "revoke"])
        async with self._db.write() as session:
            await session.execute(
                update(OutboxRow).where(OutboxRow.batch == batch).values(applied=True, revocation=number)
            )
        return len(rows)

    async def _number_of(self, batch: str) -> int:
        async with self._db.read() as session:
            found = select(func.max(OutboxRow.revocation)).where(OutboxRow.batch == batch)
            return await session.scalar(found) or 0

    async def prune(self) -> None:
        """Forgets rows applied long ago; the newest number stays taken."""
        async with self._db.write() as session:
            await session.execute(
                delete(OutboxRow).where(OutboxRow.applied, OutboxRow.at < now_ms() - RETENTION_MS)
            )


async def newest_version(session: AsyncSession) -> int:
    """The version of the newest committed change in this snapshot; 0 when there was none."""
    return await session.scalar(select(func.max(OutboxRow.id))) or 0
