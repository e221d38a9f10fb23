"""The live state as the control plane uses it: definitions, revocations and their acknowledgements, usage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import redis.asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from quota.answers import Denial, DenialCode, Outcome, Settlement, denial, text
from quota.layout import Layout
from quota.records import Change, decode, encode
from quota.scripts import Script, load
from quota.settings import LiveSettings

#: Longer than two machines' measures of one lease can differ, in seconds.
LEASE_MARGIN: Final = 0.25


class LiveStateError(Exception):
    """The live state cannot be used now: Redis is gone or paused, or its state is not the open epoch."""


class NotReady(LiveStateError):
    """Redis answers, but holds no state of the epoch that the caller knows (rule 3)."""


@dataclass(frozen=True, slots=True)
class Acks:
    """How a revocation took hold: transfers cut, workers that did not answer within their lease, seconds it took."""

    transfers_cut: int
    workers_unreachable: int
    seconds: float


class LiveState:
    """A connection to the live state of one realm, for the broker.

    Every method raises `LiveStateError` when Redis cannot be reached within `timeout` seconds, and `NotReady` while
    no epoch is open. Safe to share between tasks.
    """

    def __init__(self, client: redis_asyncio.Redis, realm: str, lease_seconds: float = 5.0) -> None:
        self.redis = client
        self.layout = Layout(realm)
        self.lease_seconds = lease_seconds
        self._shas: dict[str, str] = {}

    @classmethod
    async def connect(cls, settings: LiveSettings, timeout: float = 2.0) -> Self:
        """Return a live state over a pool of connections; Redis is first asked when a method needs it."""
        client = redis_asyncio.Redis.from_url(
            settings.redis_url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            max_connections=64,
            retry=Retry(NoBackoff(), 0),
        )
        return cls(client, settings.realm, settings.lease_seconds)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.redis.aclose()

    async def run(self, verb: str, *args: str | int | bytes) -> Any:
        """Run the script of `verb` and return its reply as Redis gave it."""
        script = load(verb)
        try:
            return await self._evalsha(script, args)
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveStateError(f"Redis cannot be used now ({type(error).__name__})") from error

    async def _evalsha(self, script: Script, args: Sequence[str | int | bytes]) -> Any:
        keys = self.layout.keys(script.keys)
        sha = self._shas.get(script.name)
        if sha is not None:
            try:
                return await self.redis.evalsha(sha, len(keys), *keys, *args)
            except NoScriptError:
                # A failover forgets scripts; the source is sent again.
                pass
        self._shas[script.name] = text(await self.redis.script_load(script.source))
        return await self.redis.evalsha(self._shas[script.name], len(keys), *keys, *args)

    async def _checked(self, verb: str, *args: str | int | bytes) -> Any:
        reply = await self.run(verb, await self.epoch(), *args)
        refused = denial(reply)
        if refused is not None and refused.code is DenialCode.NOT_READY:
            raise NotReady("the live state is being rebuilt")
        return reply

    async def hget(self, name: str, field: str) -> bytes | None:
        """Return one field of the hash that the layout calls `name`."""
        try:
            return await cast(Awaitable[bytes | None], self.redis.hget(self.layout[name], field))
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveStateError(f"Redis cannot be used now ({type(error).__name__})") from error

    async def epoch(self) -> str:
        """Return the open epoch. Raises `NotReady` when there is none."""
        found = await self.hget("STATE", "epoch")
        if found is None:
            raise NotReady("the live state is being rebuilt")
        return found.decode()

    # Definitions and revocations.

    async def apply(self, changes: Sequence[Change], revoke: Iterable[str] = ()) -> int:
        """Apply committed changes and publish what they take away, atomically (rules 1 and 12).

        Returns the number of the revocation, 0 when `revoke` is empty. Applying the same changes again is harmless.
        """
        reply = await self._checked(
            "apply", int(self.lease_seconds * 1000), encode(list(changes)), json.dumps(sorted(set(revoke)))
        )
        return int(reply[1])

    async def await_acks(self, number: int) -> Acks:
        """Wait until no worker can act on what revocation `number` took away.

        That is when each live worker has acknowledged it, or its lease (plus a margin) has run out: at most
        `lease_seconds` and the margin (rule 13), on this process's own clock, whatever Redis says or does not say
        meanwhile. Workers that did not answer count as unreachable; where Redis tells of none, as one.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        deadline = started + self.lease_seconds + LEASE_MARGIN
        waiting: dict[str, float] | None = None
        lapsed, cut, pause = 0, 0, 0.001
        while True:
            asking = loop.create_task(self._asked_acks(number))
            # Not cancelled at the end: a command must not be, in the middle.
            await asyncio.wait([asking], timeout=max(0.01, deadline - loop.time()))
            now = loop.time()
            if asking.done() and (told := asking.result()) is not None:
                cut, alive = told
                if waiting is None:
                    # Whose lease ran out before is gone; whether it was ended yet makes no difference.
                    waiting = {worker: now for worker, (_, left) in alive.items() if left + LEASE_MARGIN > 0}
                for worker in list(waiting):
                    # One that is not there any more has left by itself, or was ended after its lease and the margin.
                    seen, left = alive.get(worker, (number, 0.0))
                    waiting[worker] = now + left + LEASE_MARGIN
                    if seen >= number:
                        del waiting[worker]
            if waiting is None:
                if now >= deadline:
                    return Acks(cut, 1, now - started)
            else:
                for worker, ends in list(waiting.items()):
                    if now >= min(ends, deadline):
                        lapsed += 1
                        del waiting[worker]
                if not waiting:
                    return Acks(cut, lapsed, now - started)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    async def _asked_acks(self, number: int) -> tuple[int, dict[str, tuple[int, float]]] | None:
        """Return how many transfers were cut so far, and (number applied, seconds of lease left) of each worker.

        None when the live state cannot be asked.
        """
        try:
            reply = await self._checked("acks", number)
        except LiveStateError:
            return None
        return int(reply[1]), {
            text(reply[i]): (int(reply[i + 1]), int(reply[i + 2]) / 1000) for i in range(2, len(reply), 3)
        }

    async def reap(self, commit_seconds: float) -> list[str]:
        """End the leases that ran out; what those workers held is in doubt from now on. Returns their ids."""
        reply = await self._checked("leave", "", int(commit_seconds * 1000), int(LEASE_MARGIN * 1000))
        return [text(worker) for worker in reply[1:]]

    async def credential(self, access_key_id: str) -> dict[str, Any] | None:
        """Return a credential's record, its secret still sealed, or None."""
        return decode(await self.hget("CREDENTIALS", access_key_id))

    async def workspace(self, workspace: str) -> dict[str, Any] | None:
        """Return a workspace's record, or None."""
        return decode(await self.hget("WORKSPACES", workspace))

    async def why(
        self, user: str, access_key_id: str, bucket: str, need: int
    ) -> tuple[Denial | None, dict[str, Any]]:
        """Return what admit would decide, and what it found: have, cap, via, workspace, owner, grant, full, warning."""
        verdict, found = await self.run("why", await self.epoch(), user, access_key_id, bucket, need)
        return denial(verdict), json.loads(found)

    # Counts.

    async def usage(self, units: Sequence[str]) -> list[dict[str, int]]:
        """Return what is counted for each usage unit ("w:WSID", "u:UID", "ur:UID:RID", "r:RID"), in that order.

        The measures are those of `lua/lib/room.lua`: b, o, hb, ho, db, do, mb, vb, vo, rp, gs, rt; absent ones are 0.
        """
        measures = ("b", "o", "hb", "ho", "db", "do", "mb", "vb", "vo", "rp", "gs", "rt")
        fields = [f"{unit}:{measure}" for unit in units for measure in measures]
        if not fields:
            return []
        try:
            values = await cast(Awaitable[list[bytes | None]], self.redis.hmget(self.layout["USAGE"], fields))
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveStateError(f"Redis cannot be used now ({type(error).__name__})") from error
        counts = [int(value or 0) for value in values]
        width = len(measures)
        return [dict(zip(measures, counts[i : i + width], strict=True)) for i in range(0, len(counts), width)]

    async def link_downloads(self, links: Sequence[str]) -> list[int]:
        """Return how often each link was used to fetch something."""
        if not links:
            return []
        fields = [f"{link}:d" for link in links]
        try:
            counts = await cast(Awaitable[list[bytes | None]], self.redis.hmget(self.layout["LINKS"], fields))
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveStateError(f"Redis cannot be used now ({type(error).__name__})") from error
        return [int(count or 0) for count in counts]

    async def tell_uses(self, uses: Mapping[str, int]) -> None:
        """Note when (ms, UTC) each access key was last used."""
        fields: dict[Any, Any] = {access_key_id: str(at) for access_key_id, at in uses.items()}
        try:
            await self.redis.hset(self.layout["USED"], mapping=fields)
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveStateError(f"Redis cannot be used now ({type(error).__name__})") from error

    async def last_uses(self, access_key_ids: Sequence[str]) -> dict[str, int]:
        """Return when (ms, UTC) each of these access keys was last used; those never used are left out."""
        if not access_key_ids:
            return {}
        try:
            found = await cast(
                Awaitable[list[bytes | None]], self.redis.hmget(self.layout["USED"], list(access_key_ids))
            )
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveStateError(f"Redis cannot be used now ({type(error).__name__})") from error
        return {key: int(at) for key, at in zip(access_key_ids, found, strict=True) if at is not None}

    async def forget_uses(self, access_key_ids: Sequence[str]) -> None:
        """Drop what is known of the use of access keys that are no more."""
        if not access_key_ids:
            return
        try:
            await self.redis.hdel(self.layout["USED"], *access_key_ids)
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveStateError(f"Redis cannot be used now ({type(error).__name__})") from error

    async def transfers(self, settle_seconds: float = 1.2) -> list[dict[str, Any]]:
        """Return the transfers that run now, as the workers tell them.

        Workers tell theirs only while somebody watches; the first call asks them to, and waits up to
        `settle_seconds` for all to have told.
        """
        try:
            state, workers = self.layout["STATE"], self.layout["WORKERS"]
            now = int((await self.redis.time())[0]) * 1000
            watched = int(await cast(Awaitable[Any], self.redis.hget(state, "watch")) or 0)
            await self.redis.hset(state, "watch", str(now + 10_000))
            if watched <= now + 2_000:
                await asyncio.sleep(settle_seconds)
            raw = await cast(Awaitable[dict[bytes, bytes]], self.redis.hgetall(workers))
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveStateError(f"Redis cannot be used now ({type(error).__name__})") from error
        found: list[dict[str, Any]] = []
        for field, value in raw.items():
            worker, _, what = field.decode().partition(":")
            if what == "transfers" and worker.encode() in raw:
                found.extend({**transfer, "worker": worker} for transfer in json.loads(value))
        return found

    async def settle(self, settlements: Sequence[Settlement], commit_seconds: float) -> list[str]:
        """End holds (see `lua/settle.lua`); returns ok, look, doubt or gone for each."""
        args: list[str | int] = [int(commit_seconds * 1000)]
        for one in settlements:
            outcome: Outcome = one.outcome
            args += [one.hold, outcome.value, one.base_bytes, one.base_objects, one.bytes, one.objects]
        reply = await self._checked("settle", *args)
        return [text(result) for result in reply[1:]]
