"""The live state as a proxy worker uses it: one pipelined connection, one round trip a decision."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from quota.answers import Admitted, Denial, DenialCode, Outcome, Settlement, admitted, denial, text
from quota.layout import Layout
from quota.records import decode
from quota.scripts import load
from quota.wire import Argument, Wire, WireError

_VERBS: Final = (
    "admit",
    "admit_read",
    "join",
    "size",
    "settle",
    "begin_upload",
    "end_upload",
    "buckets",
    "renew",
    "leave",
    "link",
    "reassert",
)

NOT_READY: Final = Denial(DenialCode.NOT_READY)


class Counted(NamedTuple):
    """Whether a use of a link was counted (else there was no room for it), the count, and seconds until there is."""

    is_counted: bool
    total: int
    wait: float


class GateUnavailable(Exception):
    """Redis is gone or paused: nothing can be decided, so nothing may pass."""


class Stake:
    """What a hold stands for, so that it can be told to a state that does not know it. Sizes in bytes."""

    __slots__ = (
        "key",
        "kind",
        "objects",
        "part",
        "size",
        "upload",
        "version",
        "workspace",
    )

    def __init__(
        self,
        workspace: str,
        kind: str,
        key: bytes,
        upload: str = "",
        part: int = 0,
        version: str = "",
        size: int = 0,
        objects: int = 0,
    ) -> None:
        self.workspace: Final = workspace
        self.kind: Final = kind
        self.key: Final = key
        self.upload: Final = upload
        self.part: Final = part
        self.version: Final = version
        self.size: Final = size
        self.objects: Final = objects

    def of_size(self, size: int) -> Stake:
        """The same of `size` bytes."""
        return Stake(
            self.workspace, self.kind, self.key, self.upload, self.part, self.version, size, self.objects
        )


class Gate:
    """What a worker asks and tells, always for the epoch that its lease knows.

    `epoch` is '' while the state is not ready; then everything is denied with `NotReady` without asking. `worker` is
    the id under which holds are taken. Both are set by the lease. Methods raise `GateUnavailable` when Redis does not
    answer in time; whether a mutation then ran is unknown, and so every hold is released or settled once more later:
    both are idempotent (rule 5).
    """

    def __init__(self, wire: Wire, realm: str, commit_seconds: float = 30.0) -> None:
        self.wire = wire
        self.layout = Layout(realm)
        self.epoch = ""
        self.worker = ""
        self.commit_ms = int(commit_seconds * 1000)
        self._keys: dict[str, list[str]] = {}
        self._owed: dict[str, Settlement] = {}
        #: What this worker has released to a node and not settled, by hold (rule 4).
        self.released: dict[str, Stake] = {}
        self._owing: asyncio.Task[None] | None = None
        for verb in _VERBS:
            script = load(verb)
            wire.register(verb, script.source)
            self._keys[verb] = self.layout.keys(script.keys)

    async def run(self, verb: str, *args: Argument) -> Any:
        """Run a verb with the current epoch in front of `args`; return the reply as it came."""
        try:
            return await self.wire.call(verb, self._keys[verb], (self.epoch, *args))
        except WireError as error:
            raise GateUnavailable("Redis cannot be used now") from error

    async def record(self, name: str, field: str) -> dict[str, Any] | None:
        """Return the definition record `field` of the hash that the layout calls `name`, or None."""
        try:
            return decode(await self.wire.execute("HGET", self.layout[name], field))
        except WireError as error:
            raise GateUnavailable("Redis cannot be used now") from error

    async def admit_read(self, access_key_id: str, bucket: str, need: int) -> Admitted | Denial:
        """Ask for leave to read (or, with a higher `need`, to do what takes no room)."""
        if not self.epoch:
            return NOT_READY
        worker = self.worker
        try:
            reply = await self.wire.call(
                "admit_read", self._keys["admit_read"], (self.epoch, access_key_id, bucket, int(need))
            )
        except WireError as error:
            raise GateUnavailable("Redis cannot be used now") from error
        return NOT_READY if self.worker is not worker else admitted(reply)

    async def admit(
        self,
        access_key_id: str,
        bucket: str,
        need: int,
        kind: str,
        hold: str,
        key: bytes,
        *,
        source: str = "",
        size: int = 0,
        objects: int = 0,
        upload: str = "",
        part: int = 0,
        version: str = "",
    ) -> Admitted | Denial:
        """Ask for leave to change `key`, taking hold `hold` (see `lua/admit.lua`); `size` in bytes, -1 for later.

        When the answer does not arrive, the hold is given back in the background, whether or not it was taken.
        """
        if not self.epoch:
            return NOT_READY
        worker = self.worker
        try:
            reply = await self.run(
                "admit",
                access_key_id,
                bucket,
                need,
                source,
                kind,
                hold,
                worker,
                key,
                size,
                objects,
                upload,
                part,
                version,
            )
        except (GateUnavailable, asyncio.CancelledError):
            if hold:
                self.settle_later(Settlement(hold, Outcome.NONE))
            raise
        if self.worker is not worker:
            # Decided under a lease that has ended since: what was revoked in between, nobody here was told.
            if hold:
                self.settle_later(Settlement(hold, Outcome.NONE))
            return NOT_READY
        return admitted(reply)

    async def join(
        self, access_key_id: str, workspace: str, members: Sequence[tuple[str, bytes, str]]
    ) -> list[str] | Denial:
        """Join the groups of many (hold, key, version id) to be deleted; returns the duty of each, 'no' = refused."""
        if not self.epoch:
            return NOT_READY
        flat: list[Argument] = [part for member in members for part in member]
        try:
            reply = await self.run("join", self.worker, access_key_id, workspace, *flat)
        except (GateUnavailable, asyncio.CancelledError):
            for hold, _key, _version in members:
                self.settle_later(Settlement(hold, Outcome.NONE))
            raise
        return denial(reply) or [text(duty) for duty in reply[1:]]

    async def size(
        self,
        hold: str,
        *,
        base: int = -1,
        base_objects: int = 0,
        size: int = -1,
        objects: int = 0,
        parts: Sequence[int] = (),
    ) -> int | str | Denial:
        """Tell what was learned of a hold (see `lua/size.lua`).

        Returns its size in bytes when the final byte may be released, "read" or "wait" when the base is still owed,
        or a denial, after which the hold is gone.
        """
        reply = await self.run("size", hold, base, base_objects, size, objects, ",".join(map(str, parts)))
        first = text(reply[0])
        if first == "ok":
            return int(reply[1])
        if first == "no":
            return denial(reply) or NOT_READY
        return first

    async def settle(self, settlements: Sequence[Settlement]) -> list[str]:
        """End holds; returns ok, look, doubt, gone or orphan for each, in order; owed where it is told later.

        What cannot be told now is told later, until the state says that it knows: meanwhile it stays charged
        (rule 8).
        """
        if not self.epoch:
            for one in settlements:
                self.settle_later(one)
            return ["owed"] * len(settlements)
        args: list[Argument] = [self.commit_ms]
        for one in settlements:
            args += (one.hold, one.outcome.value, one.base_bytes, one.base_objects, one.bytes, one.objects)
        try:
            reply = await self.run("settle", *args)
        except (GateUnavailable, asyncio.CancelledError):
            for one in settlements:
                self.settle_later(one)
            raise
        if denial(reply) is not None:
            # The state that knew these holds is gone; its successor is told of them when there is one.
            for one in settlements:
                self.settle_later(one)
            return ["owed"] * len(settlements)
        results = [text(result) for result in reply[1:]]
        for one, result in zip(settlements, results, strict=True):
            if result != "look":
                self.released.pop(one.hold, None)
        return results

    def settle_later(self, settlement: Settlement) -> None:
        """Settle in the background, trying again while Redis is away."""
        self._owed[settlement.hold] = settlement
        if self._owing is None or self._owing.done():
            self._owing = asyncio.get_running_loop().create_task(self._pay(), name="settle-later")

    async def _pay(self) -> None:
        pause = 0.05
        while self._owed:
            if not self.epoch:
                await asyncio.sleep(0.05)
                continue
            batch = list(self._owed.values())[:100]
            args: list[Argument] = [self.commit_ms]
            for one in batch:
                # Nobody is left to look: what would need a look stays in doubt.
                args += (
                    one.hold,
                    one.outcome.value,
                    one.base_bytes,
                    one.base_objects,
                    one.bytes,
                    one.objects,
                )
            reply = None
            with contextlib.suppress(GateUnavailable):
                reply = await self.run("settle", *args)
            if reply is None or denial(reply) is not None:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
                continue
            pause = 0.05
            again = []
            for one, result in zip(batch, reply[1:], strict=True):
                if self._owed.get(one.hold) is one:
                    del self._owed[one.hold]
                self.released.pop(one.hold, None)
                if text(result) == "look":
                    again.append(Settlement(one.hold, Outcome.DOUBT))
            for one in again:
                self._owed[one.hold] = one

    async def reassert(self, epoch: str, worker: str) -> int:
        """Tell a new epoch what was released under an earlier one and has no end yet; returns how many were taken.

        To be called before anything else is told to that epoch (rule 4).
        """
        stakes, taken = list(self.released.items()), 0
        for i in range(0, len(stakes), 100):
            flat: list[Argument] = []
            for hold, stake in stakes[i : i + 100]:
                flat += (
                    hold,
                    stake.workspace,
                    stake.kind,
                    stake.key,
                    stake.upload,
                    stake.part,
                    stake.version,
                )
                flat += (stake.size, stake.objects)
            try:
                reply = await self.wire.call("reassert", self._keys["reassert"], (epoch, worker, *flat))
            except WireError as error:
                raise GateUnavailable("Redis cannot be used now") from error
            if denial(reply) is not None:
                raise GateUnavailable("the epoch has ended already")
            taken += int(reply[1])
        return taken

    async def begin_upload(
        self, workspace: str, upload: str, key: bytes, node: str, node_upload: str
    ) -> Denial | None:
        """Record a multipart upload (its node's id sealed); until this returns None no client may learn of it."""
        return denial(await self.run("begin_upload", workspace, upload, key, node, node_upload))

    async def end_upload(self, workspace: str, upload: str) -> int | Denial:
        """Forget an aborted upload; returns the bytes that its parts gave back."""
        reply = await self.run("end_upload", workspace, upload)
        return denial(reply) or int(reply[1])

    async def buckets(
        self, access_key_id: str, limit: int = 10_000
    ) -> tuple[str, list[tuple[str, int]]] | Denial:
        """Return the caller's user id and the (name, created in ms) of every bucket that ListBuckets shows."""
        if not self.epoch:
            return NOT_READY
        reply = await self.run("buckets", access_key_id, limit)
        refused = denial(reply)
        if refused is not None:
            return refused
        return text(reply[1]), [(text(reply[i]), int(reply[i + 1])) for i in range(2, len(reply), 2)]

    async def count_link(self, link: str, measure: str, amount: int) -> Counted | Denial:
        """Count `amount` downloads ("d"), bytes ("b") or tries of the password ("t") of a link; below 0 gives back."""
        reply = await self.run("link", link, measure, amount)
        first = text(reply[0])
        if first == "no":
            return denial(reply) or NOT_READY
        return Counted(first == "ok", int(reply[1]), int(reply[2]) / 1000 if first == "full" else 0.0)

    async def uploads(self, workspace: str, limit: int = 10_000) -> list[tuple[str, str]] | Denial:
        """Return the (id, JSON record) of the multipart uploads in progress of a workspace.

        Read bit by bit: in a script, ten thousand parts of each of many uploads would hold up everybody.
        """
        if not self.epoch:
            return NOT_READY
        found: dict[str, str] = {}
        cursor: Argument = 0
        while cursor != b"0" and len(found) < limit:
            try:
                cursor, page = await self.wire.execute("HSCAN", self.layout["UPLOADS"], cursor, "COUNT", 1000)
            except WireError as error:
                raise GateUnavailable("Redis cannot be used now") from error
            for i in range(0, len(page), 2):
                if b":" not in page[i] and json.loads(page[i + 1]).get("ws") == workspace:
                    found[text(page[i])] = text(page[i + 1])
        return list(found.items())

    async def user_of(self, access_key_id: str) -> str | None:
        """Return the user of a credential, or None where there is no such credential."""
        record = await self.record("CREDENTIALS", access_key_id)
        return None if record is None else str(record["user"])

    async def aclose(self, seconds: float = 2.0) -> None:
        """Tell what is still owed, for at most `seconds`, then stop."""
        owing, self._owing = self._owing, None
        if owing is not None and not owing.done():
            _done, pending = await asyncio.wait([owing], timeout=seconds)
            for task in pending:
                task.cancel()
