"""Counting a workspace anew by listing it, exact among writes that go on (protocol, rule 11).

The listing goes to a temporary file, so that memory is bounded by what changes meanwhile. Keys that change while it
runs are taken from the books (`recount_listed.lua`); what the books cannot tell is looked at, until nothing is left.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final, NamedTuple

import structlog
from prometheus_client import Counter

from broker.context import Broker
from broker.errors import ApiError
from broker.nodes.client import open_client
from broker.nodes.models import Node
from broker.quotas.listing import Place
from broker.roots.models import Root
from broker.workspaces.models import Workspace
from quota import LiveState, NotReady, Sealer, new_id

_log = structlog.get_logger(__name__)
_FIRST_PAUSE: Final = 0.05
_LAST_PAUSE: Final = 1.0
#: Seconds, beyond those in which a node may still commit, after which a workspace counts as too busy.
_PATIENCE: Final = 60.0
#: Looks at single keys that run at once.
_LOOKS: Final = 8
#: Keys looked at before the books are asked again.
_LOOK_BATCH: Final = 1000
#: Of a versioned bucket, keys that never stand still: after how many looks in vain their writes are held up, how many
#: at once, and for how long (ms); rarely enough that clients only try again.
_LOOKS_IN_VAIN: Final = 5
_PAUSED_KEYS: Final = 100
_PAUSE_MS: Final = 300
#: In the live state: no recount may begin before this time (ms), since writes of an earlier epoch may still come.
COUNTS_AFTER: Final = "counts_after"

#: Registered by the app.
RECOUNTS: Final = Counter(
    "wio_broker_recounts_total", "Recounts of workspaces by outcome.", ("outcome",), registry=None
)
DRIFT_BYTES: Final = Counter(
    "wio_broker_drift_bytes_total", "Bytes by which usage was found to be off, either way.", registry=None
)
DRIFT_OBJECTS: Final = Counter(
    "wio_broker_drift_objects_total", "Objects by which usage was found to be off.", registry=None
)


class Counted(NamedTuple):
    """One recount: what the books were off by (found less charged), and what there is now."""

    drift_bytes: int
    drift_objects: int
    used_bytes: int
    used_objects: int
    seconds: float


async def place_of(broker: Broker, workspace_id: str) -> tuple[Workspace, Root, Node]:
    """A workspace and where it lives. Raises ApiError (404)."""
    async with broker.db.read() as session:
        workspace = await session.get(Workspace, workspace_id)
        if workspace is None:
            raise ApiError("NoSuchBucket", "There is no such workspace.", 404)
        root = await session.get_one(Root, workspace.root_id)
        return workspace, root, await session.get_one(Node, root.node_id)


async def recount(broker: Broker, workspace_id: str) -> Counted:
    """Sets the workspace's usage to what its node holds; answers the drift that was found.

    Raises ApiError: 404; 409 when another recount took over; 502 when the node cannot be asked; 503 when it is too
    busy, or writes of before a rebuild may still come.
    """
    workspace, root, node = await place_of(broker, workspace_id)
    started = time.monotonic()
    await _wait_for_stragglers(broker)
    try:
        async with open_client(broker.sealer, node) as client:
            place = Place(client, root.bucket, workspace.prefix, versioned=root.versioned)
            patience = broker.settings.commit_seconds + broker.settings.lease_seconds + _PATIENCE
            drift_bytes, drift_objects = await count(
                broker.live, broker.sealer, place, workspace_id, versioned=root.versioned, patience=patience
            )
    except ApiError:
        RECOUNTS.labels("failed").inc()
        raise
    (usage,) = await broker.live.usage([f"w:{workspace_id}"])
    RECOUNTS.labels("drift" if drift_bytes or drift_objects else "exact").inc()
    DRIFT_BYTES.inc(abs(drift_bytes))
    DRIFT_OBJECTS.inc(abs(drift_objects))
    if drift_bytes or drift_objects:
        _log.warning(
            "recount.drift", workspace=workspace_id, drift_bytes=drift_bytes, drift_objects=drift_objects
        )
    return Counted(drift_bytes, drift_objects, usage["b"], usage["o"], round(time.monotonic() - started, 3))


async def count(
    live: LiveState, sealer: Sealer, place: Place, workspace: str, *, versioned: bool, patience: float
) -> tuple[int, int]:
    """Counts one place anew, trying for `patience` seconds; returns the drift in bytes and objects.

    Raises ApiError as `recount` does.
    """
    return await _Recount(live, sealer, place, workspace, versioned=versioned, patience=patience).run()


async def _wait_for_stragglers(broker: Broker) -> None:
    after = await broker.live.hget("STATE", COUNTS_AFTER)
    left = int(after or 0) / 1000 - time.time()
    if left > 0:
        await asyncio.sleep(min(left, broker.settings.commit_seconds + 2 * broker.settings.lease_seconds))


class _Recount:
    def __init__(
        self,
        live: LiveState,
        sealer: Sealer,
        place: Place,
        workspace: str,
        *,
        versioned: bool,
        patience: float,
    ) -> None:
        self._live = live
        self._sealer = sealer
        self._place = place
        self._workspace = workspace
        self._versioned = versioned
        self._patience = patience
        self._recount = new_id()
        self._unknown: list[str] = []
        self._bytes = self._objects = self._old_bytes = self._old_objects = 0

    async def run(self) -> tuple[int, int]:
        await self._ask("recount_begin", self._workspace, self._recount)
        with TemporaryFile() as listing:
            await self._list(listing)
            subjects = _texts((await self._ask("recount_listed", self._workspace, self._recount))[1:])
            listed = await asyncio.to_thread(self._find, listing, frozenset(subjects))
        for size, count in listed.values():
            self._bytes, self._objects = self._bytes - size, self._objects - count
        return await self._settle(listed)

    async def _settle(self, listed: dict[str, list[int]]) -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._patience, _FIRST_PAUSE
        turn = 0
        while True:
            turn += 1
            if turn % (_LOOKS_IN_VAIN + 1) == 0 and self._unknown:
                still = self._unknown[:_PAUSED_KEYS]
                await self._ask("recount_pause", self._workspace, self._recount, _PAUSE_MS, *still)
                pause = _FIRST_PAUSE
                await asyncio.sleep(pause)
            # A look is worth nothing once its key has changed, so nothing else comes between it and the verb.
            uploads = json.dumps(await self._uploads())
            looked = await self._look()
            reply = await self._ask(
                "recount_finish", self._workspace, self._recount, self._bytes, self._objects,
                self._old_bytes, self._old_objects, json.dumps(listed, ensure_ascii=False),
                json.dumps(looked, ensure_ascii=False), uploads,
            )  # fmt: skip
            if reply[0] == b"ok":
                return int(reply[1]), int(reply[2])
            if loop.time() > deadline:
                why = reply[1].decode()
                raise ApiError(
                    "SlowDown", f"The workspace is too busy to be counted now ({why}); try again.", 503
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LAST_PAUSE)

    async def _ask(self, verb: str, *args: str | int | bytes) -> list[Any]:
        sent = [arg.encode("utf-8", "surrogateescape") if isinstance(arg, str) else arg for arg in args]
        reply: list[Any] = await self._live.run(verb, await self._live.epoch(), *sent)
        if reply[0] == b"no":
            if reply[1] == b"NotReady":
                raise NotReady("the live state is being rebuilt")
            if reply[1] == b"Gone":
                raise ApiError("OperationAborted", "Another recount of this workspace has taken over.", 409)
            raise ApiError("NoSuchBucket", "There is no such workspace.", 404)
        return reply

    async def _list(self, file: BinaryIO) -> None:
        async for entry in self._place.entries():
            self._bytes, self._objects = self._bytes + entry.size, self._objects + 1
            if not entry.is_latest:
                self._old_bytes, self._old_objects = self._old_bytes + entry.size, self._old_objects + 1
            file.write(b"%s\t%d\n" % (json.dumps(entry.key).encode(), entry.size))

    def _find(self, file: BinaryIO, subjects: frozenset[str]) -> dict[str, list[int]]:
        """What was listed of each of some subjects: [bytes, objects]."""
        found: dict[str, list[int]] = {}
        if not subjects:
            return found
        file.seek(0)
        for line in file:
            key, _, size = line.rpartition(b"\t")
            subject = f"{self._workspace}|k{json.loads(key)}"
            if subject in subjects:
                before = found.setdefault(subject, [0, 0])
                before[0], before[1] = before[0] + int(size), before[1] + 1
        return found

    async def _look(self) -> dict[str, list[int]]:
        """Looks at the keys of which the books cannot tell what they hold: [bytes, objects, changes seen]."""
        mark = f"{self._workspace}|k"
        dirty = await self._ask("recount_dirty", self._recount)
        in_doubt: set[str] = set()
        busy: set[str] = set()
        for subject, _, idle in await self._groups():
            if not subject.startswith(f"{self._workspace}|p"):
                (in_doubt if idle else busy).add(_key_of(subject))
        wanted: dict[str, int] = {}
        self._unknown = []
        for subject, value in zip(_texts(dirty[1::2]), _texts(dirty[2::2]), strict=True):
            if not subject.startswith(mark):
                continue
            changes, known, _objects = (int(number) for number in value.split(":"))
            key = subject[len(mark) :]
            if self._versioned and known < 0:
                self._unknown.append(subject)
            if key not in busy and (key in in_doubt or (self._versioned and known < 0)):
                wanted[key] = changes
            if len(wanted) >= _LOOK_BATCH:
                break
        room = asyncio.Semaphore(_LOOKS)

        async def look(key: str, changes: int) -> tuple[str, list[int]]:
            async with room:
                return mark + key, [*(await self._place.look(key)), changes]

        return dict(await asyncio.gather(*(look(key, changes) for key, changes in wanted.items())))

    async def _groups(self) -> list[tuple[str, bytes, bool]]:
        """The groups of the workspace: subject, state, and whether nothing is under way and nothing can come."""
        reply = await self._ask("doubts", self._workspace, 1_000_000)
        now, found = int(reply[1]), []
        for raw, state in reply[2:]:
            group = json.loads(state)
            idle = group["n"] == 0 and now >= group.get("qt", 0)
            found.append((raw.decode("utf-8", "surrogateescape"), state, idle))
        return found

    async def _uploads(self) -> dict[str, Any]:
        """Each recorded upload as the node has it: bytes by part number, or "gone"."""
        found: dict[str, Any] = {}
        doubtful = [
            (subject, state)
            for subject, state, idle in await self._groups()
            if idle and subject.startswith(f"{self._workspace}|p")
        ]
        # Bit by bit: the parts of all workspaces' uploads lie beside them.
        key = self._live.layout["UPLOADS"]
        async for raw, value in self._live.redis.hscan_iter(key, count=500):
            upload = raw.decode()
            if ":" in upload or (record := json.loads(value))["ws"] != self._workspace:
                continue
            node_upload = self._sealer.open(record["nu"], b"node-upload").decode()
            parts = await self._place.parts(record["key"], node_upload)
            found[upload] = "gone" if parts is None else parts
        for subject, state in doubtful:
            upload, _, number = subject.partition("|p")[2].rpartition(":")
            parts = found.get(upload)
            size = parts.get(number, 0) if isinstance(parts, dict) else 0
            await self._live.run("resolve", await self._live.epoch(), subject, state, size, 0, "")
        return found


def _key_of(subject: str) -> str:
    """The key that a group's subject is about (`quota/lua/lib/groups.lua`); '' for a part."""
    marker, rest = subject.partition("|")[2][:1], subject.partition("|")[2][1:]
    if marker == "a":
        return rest.partition(":")[2]
    if marker == "v":
        return rest.rpartition("\0")[0]
    return rest if marker == "k" else ""


def _texts(raw: Iterable[bytes]) -> list[str]:
    return [value.decode("utf-8", "surrogateescape") for value in raw]
