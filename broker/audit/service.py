"""The chain of audit rows: append under the write lock, verify later.

Row n's hash covers row n-1's hash and every field of row n, under a key derived from the deployment's
secret: who can write the table but has no key can neither alter, remove nor add a row unseen. The head,
kept in its own table and sealed under the key, shows rows cut off at the end.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker.audit.models import AuditHead, AuditRow

_START = "0" * 64
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found: `problem` is None, or one sentence; `rows` were held against the chain."""

    rows: int
    problem: str | None


class AuditChain:
    """Appends and verifies. `key` is derived from the deployment's secret, for this alone."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def append(self, session: AsyncSession, row: AuditRow) -> None:
        """Numbers, chains and adds `row`. The session must hold the write lock."""
        head = await session.get(AuditHead, 1)
        if head is None:
            head = AuditHead(id=1, rows=0, mac=_START, seal=self._seal(0, _START))
            session.add(head)
        row.id = head.rows + 1
        row.mac = self._mac(head.mac, row)
        head.rows, head.mac = row.id, row.mac
        head.seal = self._seal(row.id, row.mac)
        session.add(row)

    async def verify(self, session: AsyncSession) -> Verified:
        """Walks the whole chain. Never raises for what it finds; the answer says it."""
        count, mac = 0, _START
        while True:
            query = select(AuditRow).where(AuditRow.id > count).order_by(AuditRow.id).limit(_BATCH)
            rows = list(await session.scalars(query))
            for row in rows:
                if row.id != count + 1:
                    return Verified(count, f"Row {count + 1} is missing.")
                if not hmac.compare_digest(self._mac(mac, row), row.mac):
                    return Verified(count, f"Row {row.id} was altered, or the row before it exchanged.")
                count, mac = row.id, row.mac
            session.expunge_all()
            if len(rows) < _BATCH:
                break
        return Verified(count, await self._problem_with_head(session, count, mac))

    async def _problem_with_head(self, session: AsyncSession, count: int, mac: str) -> str | None:
        head = await session.get(AuditHead, 1)
        if head is None:
            return None if count == 0 else "The head of the chain is missing."
        if not hmac.compare_digest(self._seal(head.rows, head.mac), head.seal):
            return "The head of the chain was altered."
        if head.rows != count:
            return (
                f"Rows {count + 1} to {head.rows} were cut off." if head.rows > count else "Rows were added."
            )
        return None if hmac.compare_digest(head.mac, mac) else "The last row is not the one the head names."

    def _mac(self, previous: str, row: AuditRow) -> str:
        fields: list[Any] = [
            previous, row.id, row.at, row.user_id, row.user, row.credential, row.action,
            row.workspace_id, row.owner_id, row.detail, row.request_id,
        ]  # fmt: skip
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def _seal(self, rows: int, mac: str) -> str:
        return hmac.new(self._key, f"head:{rows}:{mac}".encode(), hashlib.sha256).hexdigest()
