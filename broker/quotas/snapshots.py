"""Usage kept in SQL: what a rebuild starts from when Redis has lost its counts (protocol, rule 4)."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker.context import Broker
from broker.quotas.models import UsageSnapshot
from broker.times import now_ms
from broker.workspaces.models import Workspace

MEASURES = ("b", "o", "mb", "vb", "vo")
_BATCH = 500


async def take_snapshots(broker: Broker) -> int:
    """Writes what has changed since the last time. Returns how many workspaces that were."""
    written, last = 0, ""
    while True:
        async with broker.db.read() as session:
            found = select(Workspace.id).where(Workspace.id > last).order_by(Workspace.id).limit(_BATCH)
            ids = list(await session.scalars(found))
            rows = await session.scalars(select(UsageSnapshot).where(UsageSnapshot.workspace_id.in_(ids)))
            known = {row.workspace_id: row for row in rows}
        if not ids:
            return written
        last = ids[-1]
        usage = await broker.live.usage([f"w:{workspace}" for workspace in ids])
        changed = [
            UsageSnapshot(
                workspace_id=workspace, at=now_ms(), counted_at=used["rt"], **{m: used[m] for m in MEASURES}
            )
            for workspace, used in zip(ids, usage, strict=True)
            if not _is_same(known.get(workspace), used)
        ]
        if changed:
            async with broker.db.write() as session:
                there = set(await session.scalars(select(Workspace.id).where(Workspace.id.in_(ids))))
                for row in changed:
                    if row.workspace_id in there:
                        await session.merge(row)
            written += len(changed)


def _is_same(row: UsageSnapshot | None, used: dict[str, int]) -> bool:
    if row is None:
        return not any(used[measure] for measure in MEASURES)
    return all(getattr(row, measure) == used[measure] for measure in MEASURES)


async def usage_fields(session: AsyncSession) -> dict[str, int]:
    """The usage fields of the live state, as the last snapshot has them, every workspace marked for a recount."""
    fields: Counter[str] = Counter()
    rows = await session.execute(
        select(Workspace.id, Workspace.owner_id, Workspace.root_id, UsageSnapshot).outerjoin(
            UsageSnapshot, UsageSnapshot.workspace_id == Workspace.id
        )
    )
    for workspace, owner, root, found in rows:
        snapshot: UsageSnapshot | None = found
        values = {measure: 0 if snapshot is None else getattr(snapshot, measure) for measure in MEASURES}
        for unit in (f"w:{workspace}", f"u:{owner}", f"ur:{owner}:{root}", f"r:{root}"):
            fields[f"{unit}:rp"] += 1
            for measure, value in values.items():
                if value:
                    fields[f"{unit}:{measure}"] += value
        if snapshot is not None and snapshot.counted_at:
            fields[f"w:{workspace}:rt"] = snapshot.counted_at
    return dict(fields)
