"""The holds of one DeleteObjects: many keys joined, read, released and settled together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Self

from proxy.call import Call
from proxy.mutation import Base, Denied, settle_by_look
from proxy.operations.relaying import look
from proxy.s3.errors import S3Error
from proxy.s3.listing import Kind, Listing
from proxy.s3.url_names import url_decode
from proxy.s3.xml_read import Doomed, child, children, parse_xml, text_of
from proxy.s3.xml_write import Deleted
from quota import Denial, DenialCode, Outcome, Settlement, new_hold
from quota.gate import GateUnavailable, Stake

#: Keys joined, and settled, in one script call: a script holds up every other.
_BATCH: Final = 100
#: Looks at single keys that run at once.
_LOOKS: Final = 16
#: From how many keys on a listing may tell their sizes more cheaply than as many looks.
_LIST_FROM: Final = 8
#: Seconds to wait for a base that somebody else reads.
_PATIENCE: Final = 30.0
_PAGE_BYTES: Final = 4 * 1024 * 1024


@dataclass(slots=True)
class _Member:
    doomed: Doomed
    hold: str
    duty: str = ""
    base: Base | None = None
    is_refused: bool = False


class DeletionGroups:
    """Use as a context manager: what has no outcome when it ends is none before the release, doubt after."""

    def __init__(self, call: Call, objects: Sequence[Doomed]) -> None:
        self._call = call
        self._members = [_Member(doomed, new_hold()) for doomed in objects]
        self._released = False
        self._ended = False
        #: Objects whose hold was refused; they are not sent.
        self.left_out: list[Doomed] = []

    @property
    def ready(self) -> list[Doomed]:
        """The objects that may be deleted."""
        return [member.doomed for member in self._members]

    async def join(self) -> Denial | None:
        """Join the groups of all keys."""
        call = self._call
        for i in range(0, len(self._members), _BATCH):
            batch = self._members[i : i + _BATCH]
            duties = await call.worker.gate.join(
                call.access_key_id,
                call.admitted.workspace,
                [(m.hold, m.doomed.key.encode(), m.doomed.version_id or "") for m in batch],
            )
            if isinstance(duties, Denial):
                return duties
            for member, duty in zip(batch, duties, strict=True):
                member.duty = duty
        self.left_out = [member.doomed for member in self._members if member.duty == "no"]
        self._members = [member for member in self._members if member.duty != "no"]
        return None

    async def read_bases(self) -> None:
        """Return when the base of every key is known, here or to its group. Keys without it are left out.

        Raises what a look raises.
        """
        owed = [member for member in self._members if member.duty in ("read", "tell")]
        if len(owed) >= _LIST_FROM:
            await self._read_by_listing([member for member in owed if self._version(member) is None])
        room = asyncio.Semaphore(_LOOKS)

        async def read(member: _Member) -> None:
            async with room:
                await self._look(member)

        try:
            async with asyncio.TaskGroup() as tasks:
                for member in owed:
                    if member.base is None:
                        tasks.create_task(read(member))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        waiting = [member for member in self._members if member.duty == "wait"]
        # Who waits tells first: two requests that wait for each other, or one for itself, would wait for ever.
        telling = owed if waiting else [member for member in owed if member.duty == "tell"]
        for i in range(0, len(telling), _BATCH):
            await asyncio.gather(*(self._await_base(member) for member in telling[i : i + _BATCH]))
        for member in waiting:
            await self._await_base(member)
        refused = [member for member in self._members if member.is_refused]
        self.left_out += [member.doomed for member in refused]
        self._members = [member for member in self._members if not member.is_refused]

    def _version(self, member: _Member) -> str | None:
        return member.doomed.version_id if self._call.admitted.versioned else None

    async def _look(self, member: _Member) -> Base:
        call = self._call
        base = await look(call, call.admitted.route, member.doomed.key, self._version(member))
        member.base = base
        return base

    async def _await_base(self, member: _Member) -> None:
        gate, pause, base = self._call.worker.gate, 0.002, member.base or Base(-1, 0)
        patience = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            answer = await gate.size(member.hold, base=base.bytes, base_objects=base.objects)
            if isinstance(answer, int):
                return
            if isinstance(answer, Denial):
                if answer.code is DenialCode.NOT_READY:
                    raise Denied(answer)
                member.is_refused = True
                return
            if answer == "read":
                base = await self._look(member)
            elif asyncio.get_running_loop().time() > patience:
                raise Denied(Denial(DenialCode.RECOUNTING, ("workspace", "")))
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 0.1)

    async def _read_by_listing(self, members: list[_Member]) -> None:
        """Read the sizes of keys that lie close together from one page; the rest is left for single looks."""
        if not members:
            return
        call = self._call
        route = call.admitted.route
        wanted = {member.doomed.key: member for member in members}
        keys = sorted(wanted, key=str.encode)
        listing = Listing(Kind.V2, "", prefix=_common(keys))
        query = listing.node_query(route.prefix, lambda _token: None)
        if isinstance(query, S3Error):
            return
        node = await call.worker.nodes.find(route.node)
        exchange = await call.worker.nodes.request(node, b"GET", b"/" + route.bucket.encode("ascii"), query)
        if exchange.status != 200:
            await exchange.aclose()
            return
        body = await exchange.read(_PAGE_BYTES)
        await exchange.aclose()
        root = parse_xml(body, max_bytes=_PAGE_BYTES, max_elements=100_000)
        last = ""
        for item in children(root, "Contents"):
            last = url_decode(text_of(child(item, "Key")))[len(route.prefix) :]
            member = wanted.get(last)
            if member is not None:
                member.base = Base(int(text_of(child(item, "Size"))), 1)
        whole = text_of(child(root, "IsTruncated")) != "true"
        for key, member in wanted.items():
            if member.base is None and (whole or key.encode() < last.encode()):
                member.base = Base(0, 0)

    def release(self) -> None:
        """From now on the node may have deleted."""
        self._released = True
        call = self._call
        for member in self._members:
            key, version = member.doomed.key.encode(), self._version(member) or ""
            call.worker.gate.released[member.hold] = Stake(
                call.admitted.workspace, "delete", key, version=version
            )

    def not_sent(self) -> None:
        """The request did not reach the node after all."""
        self._released = False
        for member in self._members:
            self._call.worker.gate.released.pop(member.hold, None)

    async def settle(self, deleted: Sequence[Deleted], failed: Sequence[Doomed]) -> None:
        """End every hold by what the node said of its object; what it did not name is in doubt."""
        done = {(one.key, one.version_id) for one in deleted}
        refused = {(one.key, one.version_id) for one in failed}
        named = []
        for member in self._members:
            object_ = (member.doomed.key, member.doomed.version_id)
            outcome = (
                Outcome.DONE if object_ in done else Outcome.NONE if object_ in refused else Outcome.DOUBT
            )
            named.append((member, outcome))
        await self._end(named)

    async def none(self) -> None:
        """Nothing was deleted, for certain."""
        await self._end([(member, Outcome.NONE) for member in self._members])

    async def _end(self, outcomes: list[tuple[_Member, Outcome]]) -> None:
        self._ended = True
        gate, lost = self._call.worker.gate, False
        for i in range(0, len(outcomes), _BATCH):
            batch = outcomes[i : i + _BATCH]
            settlements = [_settlement(member, outcome) for member, outcome in batch]
            if lost:
                for one in settlements:
                    gate.settle_later(one)
                continue
            try:
                results = await gate.settle(settlements)
            except GateUnavailable:
                # What the node has done is answered all the same; the gate owes the rest (rule 8).
                lost = True
                continue
            except BaseException:
                for member, outcome in outcomes[i + _BATCH :]:
                    gate.settle_later(_settlement(member, outcome))
                raise
            looks = [member for (member, _), result in zip(batch, results, strict=True) if result == "look"]
            for n, member in enumerate(looks):
                try:
                    await settle_by_look(gate, member.hold, partial(self._look, member))
                except BaseException as failure:
                    for left in looks[n + 1 :]:
                        gate.settle_later(Settlement(left.hold, Outcome.DOUBT))
                    if not isinstance(failure, GateUnavailable):
                        for other, outcome in outcomes[i + _BATCH :]:
                            gate.settle_later(_settlement(other, outcome))
                        raise
                    lost = True
                    break

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if self._ended:
            return
        self._ended = True
        outcome = Outcome.DOUBT if self._released and self._call.was_sent() else Outcome.NONE
        for member in self._members:
            self._call.worker.gate.settle_later(_settlement(member, outcome))


def _settlement(member: _Member, outcome: Outcome) -> Settlement:
    base = member.base or Base(-1, 0)
    return Settlement(member.hold, outcome, base.bytes, base.objects, 0, 0)


def _common(keys: list[str]) -> str:
    first, last = keys[0], keys[-1]
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    return first[:length]
