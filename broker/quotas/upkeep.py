"""What keeps the books true by itself: doubts are looked at, marked workspaces recounted, stale uploads ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog
from redis.exceptions import RedisError
from sqlalchemy import func, select

from broker.context import Broker
from broker.errors import ApiError
from broker.nodes.client import open_client
from broker.quotas.listing import Place
from broker.quotas.recount import place_of, recount
from broker.quotas.snapshots import take_snapshots
from broker.roots.models import Root
from broker.workspaces.models import Workspace
from quota import LiveStateError

_log = structlog.get_logger(__name__)
_OUTAGES: Final = (RedisError, LiveStateError, OSError, TimeoutError)
#: Groups looked at in one round.
_MOST: Final = 10_000
#: Seconds before a recount that failed is tried again.
_RETRY_SECONDS: Final = 5.0
#: Seconds between two rounds that look for stale uploads, and between two workspaces of the slow round at least.
_SWEEP_SECONDS: Final = 600.0
_LEAST_PAUSE: Final = 1.0


class Upkeep:
    """The rounds; each runs until cancelled, through outages of Redis and of nodes."""

    def __init__(self, broker: Broker, is_ready: Callable[[], bool]) -> None:
        self._broker = broker
        self._is_ready = is_ready
        #: Workspaces to be recounted, with the time (monotonic) from which on.
        self._wanted: dict[str, float] = {}

    def want(self, workspace: str, after: float = 0.0) -> None:
        """Have a workspace recounted soon."""
        self._wanted.setdefault(workspace, time.monotonic() + after)

    async def doubts(self) -> None:
        """Looks at what is in doubt as soon as its node can commit no more."""
        pause = min(1.0, self._broker.settings.commit_seconds / 2)
        await self._every(pause, self.look_at_doubts, "doubts")

    async def recounts(self) -> None:
        """Recounts marked workspaces."""
        await self._every(min(0.5, self._broker.settings.monitor_seconds), self.recount_wanted, "recounts")

    async def rounds(self) -> None:
        """Recounts all workspaces, slowly."""
        last = ""
        while True:
            async with self._broker.db.read() as session:
                count = await session.scalar(select(func.count()).select_from(Workspace)) or 0
                following = select(Workspace.id).where(Workspace.id > last).order_by(Workspace.id).limit(1)
                workspace = await session.scalar(following)
            days = self._broker.settings.recount_days
            await asyncio.sleep(max(_LEAST_PAUSE, days * 86_400 / max(1, count)))
            last = workspace or ""
            if workspace is not None and self._is_ready():
                self.want(workspace)

    async def stale_uploads(self) -> None:
        """Ends multipart uploads that nobody has completed for too long."""
        await self._every(_SWEEP_SECONDS, self.end_stale_uploads, "stale uploads")

    async def snapshots(self) -> None:
        """Keeps usage in SQL."""
        await self._every(self._broker.settings.snapshot_seconds, self._snapshot, "snapshots")

    async def _snapshot(self) -> None:
        await take_snapshots(self._broker)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[Any]], name: str) -> None:
        failing = False
        while True:
            await asyncio.sleep(seconds)
            if not self._is_ready():
                continue
            try:
                await work()
                failing = False
            except (ApiError, *_OUTAGES) as error:
                if not failing:
                    _log.warning("upkeep.failed", work=name, error=type(error).__name__)
                failing = True

    async def find_pending(self) -> int:
        """Wants a recount of every workspace that a rebuild has marked, and of those laid over older data that were
        never counted; returns how many those are."""
        over_data = select(Workspace.id).join(Root).where(Root.kind == "unmanaged")
        async with self._broker.db.read() as session:
            ids = list(await session.scalars(select(Workspace.id).order_by(Workspace.id)))
            unmanaged = set(await session.scalars(over_data))
        found = 0
        for i in range(0, len(ids), 500):
            batch = ids[i : i + 500]
            for workspace, usage in zip(
                batch, await self._broker.live.usage([f"w:{one}" for one in batch]), strict=True
            ):
                if usage["rp"] > 0 or (workspace in unmanaged and not usage.get("rt")):
                    self.want(workspace)
                    found += 1
        return found

    async def recount_wanted(self) -> None:
        """Recounts what is wanted now, one workspace after another."""
        while self._broker.uncounted:
            self.want(self._broker.uncounted.pop())
        now = time.monotonic()
        for workspace in [one for one, due in self._wanted.items() if due <= now]:
            try:
                await recount(self._broker, workspace)
            except ApiError as error:
                if error.status == 404:
                    self._wanted.pop(workspace, None)
                    continue
                _log.warning("recount.failed", workspace=workspace, code=error.code, reason=error.message)
                self._wanted[workspace] = time.monotonic() + _RETRY_SECONDS
            else:
                self._wanted.pop(workspace, None)

    async def look_at_doubts(self) -> int:
        """Looks at every doubt that is due; what a look cannot tell is recounted. Returns how many were cleared."""
        live = self._broker.live
        reply = await live.run("doubts", await live.epoch(), "", _MOST)
        if reply[0] != b"ok":
            return 0
        now = int(reply[1])
        due: dict[str, list[tuple[str, bytes, dict[str, Any]]]] = {}
        for raw, state in reply[2:]:
            group = json.loads(state)
            if group["n"] == 0 and group["q"] > 0 and now >= group["qt"]:
                subject = raw.decode("utf-8", "surrogateescape")
                due.setdefault(subject.partition("|")[0], []).append((subject, state, group))
        cleared = 0
        for workspace, doubts in due.items():
            try:
                cleared += await self._look(workspace, doubts)
            except ApiError as error:
                if error.status != 404:
                    _log.warning("doubt.look_failed", workspace=workspace, code=error.code)
        return cleared

    async def _look(self, workspace_id: str, doubts: list[tuple[str, bytes, dict[str, Any]]]) -> int:
        broker, cleared = self._broker, 0
        workspace, root, node = await place_of(broker, workspace_id)
        async with open_client(broker.sealer, node) as client:
            place = Place(client, root.bucket, workspace.prefix, versioned=root.versioned)
            for subject, state, group in doubts:
                found = None if group["b"] < 0 else await self._look_at(place, subject)
                if found is None:
                    self.want(workspace_id)
                    continue
                gone = ""
                if "up" in group:
                    gone = "1" if await self._upload(place, group["up"]) is None else "0"
                reply = await broker.live.run(
                    "resolve", await broker.live.epoch(), subject.encode("utf-8", "surrogateescape"),
                    state, *found, gone,
                )  # fmt: skip
                cleared += reply[0] == b"ok"
        return cleared

    async def _look_at(self, place: Place, subject: str) -> tuple[int, int] | None:
        """What the node holds of a group's subject; None where only a recount can tell."""
        rest = subject.partition("|")[2]
        marker, rest = rest[:1], rest[1:]
        if marker == "k":
            return await place.look(rest)
        if marker == "v":
            return await place.look_at_version(*rest.rsplit("\0", 1))
        if marker == "p":
            upload, _, number = rest.rpartition(":")
            parts = await self._upload(place, upload)
            return (parts or {}).get(number, 0), 0
        return None

    async def _upload(self, place: Place, upload: str) -> dict[str, int] | None:
        raw = await self._broker.live.hget("UPLOADS", upload)
        if raw is None:
            return None
        record = json.loads(raw)
        return await place.parts(record["key"], self._node_upload(record))

    def _node_upload(self, record: dict[str, Any]) -> str:
        return self._broker.sealer.open(record["nu"], b"node-upload").decode()

    async def end_stale_uploads(self) -> int:
        """Aborts uploads older than `upload_days` and gives back what their parts were charged. Returns how many."""
        broker, ended = self._broker, 0
        before = time.time() * 1000 - broker.settings.upload_days * 86_400_000
        stale: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        async for raw, value in broker.live.redis.hscan_iter(broker.live.layout["UPLOADS"], count=500):
            upload = raw.decode()
            if ":" not in upload and (record := json.loads(value))["t"] < before:
                stale.setdefault(record["ws"], []).append((upload, record))
        for workspace_id, uploads in stale.items():
            async with AsyncExitStack() as stack:
                try:
                    workspace, root, node = await place_of(broker, workspace_id)
                    client = await stack.enter_async_context(open_client(broker.sealer, node))
                    for upload, record in uploads:
                        await client.abort(
                            root.bucket, workspace.prefix + record["key"], self._node_upload(record)
                        )
                        epoch = await broker.live.epoch()
                        await broker.live.run("end_upload", epoch, workspace_id, upload)
                        ended += 1
                except ApiError as error:
                    _log.warning("stale_uploads.failed", workspace=workspace_id, code=error.code)
        if ended:
            _log.info("stale_uploads.ended", count=ended)
        return ended
