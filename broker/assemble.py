"""Putting the broker together from its settings; the app, the bootstrap and tests start here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.audit.service import AuditChain
from broker.context import Broker
from broker.db import Database
from broker.migrate import upgrade
from broker.outbox import Outbox
from broker.settings import Settings
from quota import LiveState, Sealer


@asynccontextmanager
async def open_broker(settings: Settings, *, deferred: bool = False) -> AsyncIterator[Broker]:
    """A broker on a migrated database; with `deferred`, changes commit and wait for the next start."""
    db = Database(settings.database_url)
    live = await LiveState.connect(settings)
    try:
        await upgrade(db)
        sealer = Sealer(settings.secret.get_secret_value())
        chain = AuditChain(sealer.derive(b"audit"))
        yield Broker(settings, db, live, sealer, Outbox(db, live), chain, deferred)
    finally:
        await live.aclose()
        await db.aclose()
