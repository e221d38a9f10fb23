"""From the live state's journal into SQL: multipart uploads (protocol, rule 10) and the use of links, for rebuilds."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import structlog
from redis.exceptions import RedisError
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from broker.context import Broker
from broker.keys.models import Credential
from broker.marks import get_mark, set_mark
from broker.patience import uninterrupted
from broker.workspaces.models import Upload
from quota.epoch import Rebuild
from quota.stopping import raise_if_cancelled

_log = structlog.get_logger(__name__)
_POSITION = "journal"
_BATCH = 500
#: Shorter than the client's socket timeout, which a blocking read must not reach, in milliseconds.
_BLOCK_MS = 1000


async def follow(broker: Broker) -> None:
    """Reads the journal from where SQL last was, until cancelled, through outages."""
    while True:
        try:
            await read_some(broker, block_ms=_BLOCK_MS)
            raise_if_cancelled()
        except (RedisError, OSError, TimeoutError) as error:
            raise_if_cancelled()
            _log.warning("journal.interrupted", error=type(error).__name__)
            await asyncio.sleep(0.5)


async def read_some(broker: Broker, block_ms: int | None = None) -> int:
    """Takes up to one batch of entries; they and the new position commit together. Returns how many."""
    position = await uninterrupted(_position(broker))
    stream = broker.live.layout["JOURNAL"]
    found = await broker.live.redis.xread({stream: position}, count=_BATCH, block=block_ms)
    entries: list[tuple[bytes, dict[bytes, bytes]]] = [
        entry for _name, page in cast(Any, found) or () for entry in page
    ]
    if not entries:
        return 0
    await uninterrupted(_keep(broker, position, entries))
    return len(entries)


async def _position(broker: Broker) -> str:
    async with broker.db.read() as session:
        return await get_mark(session, _POSITION) or "0-0"


async def _keep(broker: Broker, position: str, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
    async with broker.db.write() as session:
        if (await get_mark(session, _POSITION) or "0-0") != position:
            # Another broker was faster; what it has taken must not be taken again.
            return
        for _id, fields in entries:
            await _take(session, {key.decode(): value for key, value in fields.items()})
        await set_mark(session, _POSITION, entries[-1][0].decode())


#: What a link's record calls that which `quota/lua/link.lua` counts.
_COUNTS = {b"d": "downloads", b"b": "dropped"}


async def _take(session: AsyncSession, fields: dict[str, bytes]) -> None:
    if fields["event"] == b"link":
        row = await session.get(Credential, fields["link"].decode())
        name = _COUNTS.get(fields["measure"])
        if row is not None and row.link is not None and name is not None:
            row.link = {**row.link, name: int(fields["count"])}
        return
    upload = fields["upload"].decode()
    if fields["event"] == b"end":
        await session.execute(delete(Upload).where(Upload.id == upload))
        return
    if fields["event"] != b"begin" or await session.get(Upload, upload) is not None:
        return
    record: dict[str, Any] = {
        "ws": fields["workspace"].decode(),
        "key": fields["key"].decode("utf-8", "surrogateescape"),
        "node": fields["node"].decode(),
        "nu": fields["node_upload"].decode(),
        "t": int(fields["at"]),
    }
    session.add(Upload(id=upload, workspace_id=record["ws"], record=record, recorded_at=record["t"]))
    await session.flush()


async def load_uploads(session: AsyncSession, building: Rebuild) -> None:
    """Gives a rebuild every upload that SQL knows; their parts are found by the recount."""
    for row in await session.scalars(select(Upload)):
        await building.load_upload(row.id, json.dumps({**row.record, "mb": 0, "n": 0}, separators=(",", ":")))
