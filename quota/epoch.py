"""Epochs: telling whether Redis still holds the state it held, and making it anew from SQL (rules 3 and 4)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast

from redis.exceptions import RedisError

from quota.answers import text
from quota.ids import new_id
from quota.layout import COUNTS, DEFINITIONS
from quota.live import LEASE_MARGIN, LiveState, LiveStateError
from quota.records import Change, encode

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """What Redis holds: the open epoch ('' for none), whether its server is the one that opened it, and a count of
    all changes of usage, by which usage kept elsewhere is proven current."""

    epoch: str
    same_server: bool
    usage_sequence: int
    phase: str


async def server_run_id(live: LiveState) -> str:
    """Return the run id of the Redis server: another one, another state, until proven otherwise."""
    info = await live.redis.info("server")
    return str(info["run_id"])


async def standing(live: LiveState) -> Standing:
    """Look at what Redis holds. Raises `LiveStateError`."""
    try:
        run_id = await server_run_id(live)
        fields = await cast(
            Awaitable[list[bytes | None]],
            live.redis.hmget(live.layout["STATE"], ["epoch", "run_id", "useq", "phase"]),
        )
    except (RedisError, OSError, TimeoutError) as error:
        raise LiveStateError(f"Redis cannot be used now ({type(error).__name__})") from error
    epoch, opened_by, sequence, phase = fields
    return Standing(
        (epoch or b"").decode(),
        text(opened_by or b"") == run_id,
        int(sequence or -1),
        (phase or b"").decode(),
    )


class Rebuild:
    """The loading of one new epoch; made by `rebuild`. Methods raise `LiveStateError` when another one has begun."""

    def __init__(self, live: LiveState, id: str) -> None:
        self._live = live
        self._id = id
        self._pending: list[Change] = []

    async def load(self, changes: Iterable[Change]) -> None:
        """Write definitions, in batches."""
        for change in changes:
            self._pending.append(change)
            if len(self._pending) >= _BATCH:
                await self.flush()

    async def flush(self) -> None:
        """Write what is left of the last batch."""
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        await self.run("load", encode(batch), "{}", "{}")

    async def load_usage(self, fields: Mapping[str, int]) -> None:
        """Write usage fields ("w:WSID:b" …), replacing what is there."""
        items = list(fields.items())
        for i in range(0, len(items), _BATCH):
            chunk = {field: str(value) for field, value in items[i : i + _BATCH]}
            await self.run("load", "[]", json.dumps(chunk), "{}")

    async def load_upload(self, upload: str, record: str) -> None:
        """Write the record of a multipart upload (JSON as `lua/begin_upload.lua` writes it)."""
        await self.run("load", "[]", "{}", json.dumps({upload: record}))

    async def run(self, verb: str, *args: str | int) -> None:
        """Run a verb that only the rebuild that began last may."""
        if text((await self._live.run(verb, self._id, *args))[0]) != "ok":
            raise LiveStateError("another broker rebuilds the live state")


@asynccontextmanager
async def rebuild(
    live: LiveState,
    *,
    keep_counts: bool,
    phase: str = "open",
    revision: int = 0,
    wait_for_leases: bool = True,
) -> AsyncIterator[Rebuild]:
    """Close the state, let the body load it from SQL, wait out the leases, and open it as a new epoch.

    `keep_counts` says that usage, holds and uploads in Redis are proven current; otherwise they are removed, and the
    body loads what SQL knows and marks it for a recount. `wait_for_leases=False` is for a caller that knows that no
    worker can be alive. The marker is written last; when the body fails, the state stays closed, and every script
    answers NotReady. Where two rebuild at once, the one that began first fails.
    """
    redis, layout = live.redis, live.layout
    building = Rebuild(live, id := new_id())
    try:
        doomed = [layout[name] for name in DEFINITIONS] + [layout["WORKERS"]]
        if not keep_counts:
            doomed += [layout[name] for name in COUNTS]
        loop = asyncio.get_running_loop()
        open_after = loop.time() + live.lease_seconds + LEASE_MARGIN
        async with redis.pipeline(transaction=True) as together:
            together.hdel(layout["STATE"], "epoch")
            together.hset(layout["STATE"], "building", id)
            together.hlen(layout["WORKERS"])
            together.unlink(*doomed)
            had_workers = bool((await together.execute())[2])
        yield building
        await building.flush()
        if wait_for_leases and (had_workers or not keep_counts):
            # Workers of the old epoch may still serve until their leases run out.
            await asyncio.sleep(max(0.0, open_after - loop.time()))
        await building.run("open_epoch", new_id(), await server_run_id(live), phase, revision)
    except (RedisError, OSError, TimeoutError) as error:
        raise LiveStateError(f"Redis cannot be used now ({type(error).__name__})") from error
