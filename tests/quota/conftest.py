"""A realm of one's own on a real server, with a small world in it, and a gate on it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from quota import Change, LiveSettings, LiveState, Sealer, new_id
from quota.epoch import rebuild
from quota.gate import Gate
from quota.wire import Wire
from tests import servers

SECRET = "a deployment secret of enough characters"


@dataclass
class World:
    """Alice owns `photos`; Bob reads it; Carol has nothing. Keys: A, B, C."""

    live: LiveState
    gate: Gate
    settings: LiveSettings
    sealer: Sealer
    versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def define(
        self, kind: Any, id: str, value: dict[str, Any] | None, revoke: tuple[str, ...] = ()
    ) -> int:
        return await self.live.apply([Change(kind, id, next(self.versions), value)], revoke)

    async def limit(self, id: str, **limit: Any) -> None:
        await self.define("limit", id, {"bytes": None, "objects": None, **limit})

    async def usage(self, unit: str = "w:ws1") -> dict[str, int]:
        (found,) = await self.live.usage([unit])
        return found

    def changes(self) -> list[Change]:
        def user(handle: str, **more: Any) -> dict[str, Any]:
            return {"handle": handle, "enabled": True, "admin": False, "groups": [], **more}

        def key(owner: str) -> dict[str, Any]:
            return {
                "user": owner,
                "kind": "key",
                "secret": "sealed",
                "token": None,
                "parents": [],
                "workspaces": None,
                "permission": None,
                "expires": None,
                "enabled": True,
            }

        workspace = {
            "owner": "alice",
            "names": ["alice.photos"],
            "root": "root1",
            "node": "node1",
            "bucket": "data",
            "prefix": "base/alice/photos.ws1/",
            "public": False,
            "versioned": False,
            "state": "open",
            "created": 1_700_000_000_000,
        }
        grant = {"share": "share1", "permission": 1, "expires": None, "chain": []}
        rows: list[tuple[Any, str, dict[str, Any]]] = [
            ("user", "alice", user("alice")),
            ("user", "bob", user("bob", groups=["staff"])),
            ("user", "carol", user("carol")),
            ("credential", "A", key("alice")),
            ("credential", "B", key("bob")),
            ("credential", "C", key("carol")),
            ("workspace", "ws1", workspace),
            ("grant", "ws1|u:bob", grant),
        ]
        return [Change(kind, id, next(self.versions), value) for kind, id, value in rows]


@pytest.fixture
async def world(valkey: servers.Valkey) -> AsyncIterator[World]:
    settings = LiveSettings(
        redis_url=valkey.url, realm=f"t{new_id()}", secret=SECRET, lease_seconds=1.0, commit_seconds=1.0
    )
    live = await LiveState.connect(settings)
    wire = Wire(settings.redis_url)
    await wire.connect()
    world = World(live, Gate(wire, settings.realm, 1.0), settings, Sealer(SECRET))
    async with rebuild(live, keep_counts=False, wait_for_leases=False) as building:
        await building.load(world.changes())
    world.gate.epoch = await live.epoch()
    world.gate.worker = "worker1"
    yield world
    await world.gate.aclose()
    await wire.aclose()
    await live.aclose()
