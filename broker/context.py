"""What a service needs to work: one frozen bundle, put together once by `app.create_app`'s lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from json import dumps, loads
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from broker import records
from broker.audit.models import AuditRow
from broker.audit.service import AuditChain
from broker.db import Database
from broker.errors import denied
from broker.keys.models import Credential
from broker.logs import request_id
from broker.outbox import Entry, Kind, Outbox, write_entries
from broker.policy import Caller
from broker.settings import Settings
from broker.times import now_ms
from broker.users.models import User
from quota import Acks, LiveState, Sealer, new_id
from quota.uses import Uses


@dataclass(slots=True)
class Unit:
    """One change being made, under the write lock: touch records, revoke names, note it in the audit trail.

    `acks` is set once the change is in force and something was revoked.
    """

    session: AsyncSession
    caller: Caller
    batch: str
    now: int
    acks: Acks | None = None
    _touched: dict[tuple[Kind, str], None] = field(default_factory=dict)
    _revoked: dict[str, None] = field(default_factory=dict)
    _audit: list[AuditRow] = field(default_factory=list)

    def touch(self, kind: Kind, record_id: str) -> None:
        """The record may differ after this transaction; its value is read when the transaction ends."""
        self._touched[(kind, record_id)] = None

    def revoke(self, *names: str) -> None:
        """Cuts what depends on `s:SHARE`, `c:AKID`, `u:UID`, `g:GID:UID`, `w:WSID`, `l:LINK` or `node:NID`."""
        self._revoked.update(dict.fromkeys(names))

    def note(
        self, action: str, *, workspace: str | None = None, owner: str | None = None, **detail: Any
    ) -> None:
        """An audit row; it commits with the change. `detail` is JSON and holds nothing secret."""
        self._audit.append(
            AuditRow(
                at=self.now,
                user_id=self.caller.user,
                user=self.caller.handle,
                credential=self.caller.credential,
                action=action,
                workspace_id=workspace,
                owner_id=owner,
                detail=loads(dumps(detail)),
                request_id=request_id.get(),
            )
        )

    async def finish(self, chain: AuditChain) -> bool:
        """Writes audit and outbox rows; whether there is anything to apply."""
        for row in self._audit:
            await chain.append(self.session, row)
        await self.session.flush()
        entries = [
            Entry(kind, record_id, await records.load(self.session, kind, record_id))
            for kind, record_id in self._touched
        ]
        entries += [Entry("revoke", name) for name in self._revoked]
        write_entries(self.session, self.batch, entries)
        return bool(entries)


@dataclass(frozen=True, slots=True)
class Broker:
    """Settings, SQL, live state, secrets, audit: passed to every service function."""

    settings: Settings
    db: Database
    live: LiveState
    sealer: Sealer
    outbox: Outbox
    chain: AuditChain
    #: Changes only commit; the next start applies them. For set-up, while no live state is open.
    deferred: bool = False
    #: Workspaces just laid over data that was there before them, which upkeep counts next.
    uncounted: set[str] = field(default_factory=set)
    #: Workspaces that this broker is deleting.
    deleting: set[str] = field(default_factory=set)
    #: Which access keys were used here, and when.
    uses: Uses = field(default_factory=Uses)

    @asynccontextmanager
    async def change(self, caller: Caller) -> AsyncIterator[Unit]:
        """A change: decided and committed under the lock, then applied, then acknowledged.

        Everything in the body happens, or (on any exception) nothing. After the block the change is in
        force everywhere. Raises ApiError (503) when it is committed and could not be applied yet, and (403) when
        the caller's credential or user ended between being authenticated and taking the lock.
        """
        async with self.db.write() as session:
            unit = Unit(session, caller, new_id(), now_ms())
            await _check_standing(session, caller, unit.now)
            yield unit
            pending = await unit.finish(self.chain)
        if pending and not self.deferred:
            unit.acks = await self.outbox.settle(unit.batch)


async def _check_standing(session: AsyncSession, caller: Caller, now: int) -> None:
    """What the caller was let in by must still hold under the lock, or a revoked key could leave a new one behind."""
    for key in (caller.credential, *caller.parents):
        row = await session.get(Credential, key) if key is not None else None
        if key is not None and (
            row is None
            or row.deleted_at is not None
            or not row.enabled
            or (row.expires_at is not None and row.expires_at <= now)
        ):
            raise denied("The credential that asks was revoked meanwhile.")
    if caller.user is not None:
        user = await session.get(User, caller.user)
        if user is None or user.deleted_at is not None or not user.enabled or user.admin < caller.admin:
            raise denied("The user who asks was disabled, or is no admin any more.")


def revoked(unit: Unit, ids: Sequence[str], *, sessions: int = 0, links: int = 0) -> dict[str, Any]:
    """The answer of every revoke, disable and delete (design, section 8)."""
    acks = unit.acks
    return {
        "revoked": list(ids),
        "sessions": sessions,
        "links": links,
        "transfers_cut": acks.transfers_cut if acks else 0,
        "workers_unreachable": acks.workers_unreachable if acks else 0,
        "seconds": acks.seconds if acks else 0.0,
    }
