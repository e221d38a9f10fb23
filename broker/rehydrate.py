"""Rebuilding the live state from SQL, by itself, whenever it is not the one that was opened (rules 3 and 4).

Everything is loaded with the version of the snapshot; deletions of the last weeks come along as
tombstones, so that a change that arrives late from before them brings nothing back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import structlog
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import records
from broker.context import Broker
from broker.errors import ApiError
from broker.journal import load_uploads
from broker.keys.service import sweep_sessions
from broker.marks import get_mark, set_mark
from broker.outbox import OutboxRow, newest_version
from broker.patience import uninterrupted
from broker.quotas.recount import COUNTS_AFTER
from broker.quotas.snapshots import take_snapshots, usage_fields
from broker.quotas.upkeep import Upkeep
from quota import Change, LiveStateError
from quota.epoch import Standing, rebuild, standing

_log = structlog.get_logger(__name__)
_EPOCH = "epoch"
_SEQUENCE = "usage_sequence"
_REVISION = "revision"
#: Seconds between two rounds of housekeeping.
HOUSEKEEPING_SECONDS = 60.0
_OUTAGES = (RedisError, LiveStateError, OSError, TimeoutError)


async def changes(session: AsyncSession) -> AsyncIterator[list[Change]]:
    """Every record and every remembered deletion, as changes of this snapshot's version, in batches."""
    version = await newest_version(session)
    last = (
        select(OutboxRow.kind, OutboxRow.record_id, func.max(OutboxRow.id).label("id"))
        .where(OutboxRow.kind != "revoke")
        .group_by(OutboxRow.kind, OutboxRow.record_id)
        .subquery()
    )
    gone = select(OutboxRow).join(last, last.c.id == OutboxRow.id).where(OutboxRow.value.is_(None))
    tombstones = [
        Change(row.kind, row.record_id, version, None)  # type: ignore[arg-type]
        for row in await session.scalars(gone)
    ]
    yield tombstones
    async for batch in records.load_all(session):
        # What is deleted but keeps its row is told by its tombstone, or was never live in this epoch.
        yield [
            Change(entry.kind, entry.id, version, entry.value)  # type: ignore[arg-type]
            for entry in batch
            if entry.value is not None
        ]


def _is_ours(seen: Standing, known: str | None) -> bool:
    """Whether Redis holds the open epoch that SQL remembers, on the server that it was opened on."""
    return bool(seen.epoch) and seen.epoch == known and seen.same_server


class Rehydrator:
    """Watches the live state, and rebuilds it when it is not the epoch that SQL remembers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.is_ready = False
        self._is_checked = False
        self.upkeep = Upkeep(broker, lambda: self.is_ready)

    async def look(self) -> bool:
        """Looks once; rebuilds when needed, then applies what is pending. Whether the state is open and ours."""
        broker = self._broker
        seen = await standing(broker.live)
        async with broker.db.read() as session:
            known = await get_mark(session, _EPOCH)
        if not _is_ours(seen, known):
            self.is_ready = False
            async with broker.db.alone():
                # Another broker may have rebuilt it while this one waited.
                seen = await standing(broker.live)
                async with broker.db.read() as session:
                    known = await get_mark(session, _EPOCH)
                if not _is_ours(seen, known):
                    await self._rebuild(seen, known)
        await broker.outbox.drain()
        if not self._is_checked:
            # Also what an earlier broker has not got round to.
            await self.upkeep.find_pending()
            self._is_checked = True
        self.is_ready = True
        return True

    async def _rebuild(self, seen: Standing, known: str | None) -> None:
        broker = self._broker
        async with broker.db.read() as session:
            sequence = await get_mark(session, _SEQUENCE)
            revision = int(await get_mark(session, _REVISION) or 0)
            highest = await session.scalar(select(func.max(OutboxRow.revocation))) or 0
        # The same server kept its counts, whatever epoch; another one must prove that none is missing.
        kept = bool(seen.epoch) and seen.epoch == known and sequence == str(seen.usage_sequence)
        _log.info("rehydrate.start", keeps_counts=kept, first=known is None)
        async with rebuild(
            broker.live,
            keep_counts=kept,
            revision=max(revision, highest),
            # Before the first epoch of all no worker can have had a lease.
            wait_for_leases=known is not None,
        ) as building:
            # A snapshot from after the closing: what was applied until then is in it, and nothing is applied since.
            async with broker.db.read() as session:
                async for batch in changes(session):
                    await building.load(batch)
                if not kept:
                    await building.load_usage(await usage_fields(session))
                    await load_uploads(session, building)
            if not kept:
                # What workers of before had released may be stored until then, without being charged.
                late = broker.settings.commit_seconds + 2 * broker.settings.lease_seconds
                after = 0 if known is None else int((time.time() + late) * 1000)
                await broker.live.redis.hset(broker.live.layout["STATE"], COUNTS_AFTER, str(after))
                self._is_checked = False
        opened = await standing(broker.live)
        async with broker.db.write() as writing:
            await set_mark(writing, _EPOCH, opened.epoch)
            await set_mark(writing, _SEQUENCE, "")
        _log.info("rehydrate.done")

    async def watch(self) -> None:
        """Looks again and again, until cancelled; does the pending recounts in between."""
        failing = False
        while True:
            try:
                await uninterrupted(self.look())
                failing = False
            except _OUTAGES as error:
                self.is_ready = False
                if not failing:
                    _log.warning("live_state.unavailable", error=type(error).__name__)
                failing = True
            await asyncio.sleep(self._broker.settings.monitor_seconds)

    async def housekeeping(self) -> None:
        """Ends lapsed leases, forgets old sessions and outbox rows, remembers the revision; until cancelled."""
        broker = self._broker
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            try:
                await uninterrupted(sweep_sessions(broker))
                await uninterrupted(broker.outbox.prune())
            except (ApiError, *_OUTAGES) as error:
                _log.warning("housekeeping.failed", error=type(error).__name__)

    async def reap(self) -> None:
        """Puts in doubt what workers whose lease ran out still held; until cancelled."""
        broker = self._broker
        while True:
            await asyncio.sleep(broker.settings.lease_seconds)
            try:
                if self.is_ready:
                    await broker.live.reap(broker.settings.commit_seconds)
            except _OUTAGES as error:
                _log.warning("reap.failed", error=type(error).__name__)

    async def remember(self) -> None:
        """Notes, at a clean stop, how far usage was counted: the next start can prove that nothing is missing."""
        try:
            await take_snapshots(self._broker)
            seen = await standing(self._broker.live)
        except LiveStateError:
            return
        async with self._broker.db.write() as session:
            await set_mark(session, _SEQUENCE, str(seen.usage_sequence))
            highest = await session.scalar(select(func.max(OutboxRow.revocation))) or 0
            known = int(await get_mark(session, _REVISION) or 0)
            await set_mark(session, _REVISION, str(max(known, highest)))
