"""The live state under names, sizes and records that mean harm: scripts in bounds, and closed when in doubt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from quota import Admitted, Denial, Outcome, Settlement
from quota.answers import admitted
from quota.calls import CallClient, CallFailed
from quota.gate import GateUnavailable
from tests.quota.conftest import World, world

__all__ = ["world"]

#: A script holds up everybody on its Redis; far above what these take on a busy machine (measured: 1 to 60 ms).
LONGEST_SECONDS = 1.0
T = TypeVar("T")


async def timed(call: Awaitable[T]) -> T:
    started = time.perf_counter()
    result = await call
    assert time.perf_counter() - started < LONGEST_SECONDS
    return result


async def test_a_user_in_thousands_of_groups(world: World) -> None:
    """More arguments than Lua's stack holds: a user must not become unable to do anything by being added."""
    groups = [f"g{number:015d}" for number in range(9_000)]
    await world.define("user", "bob", {"handle": "bob", "enabled": True, "admin": False, "groups": groups})
    admitted = await timed(world.gate.admit_read("B", "alice.photos", 1))
    assert isinstance(admitted, Admitted)
    await world.define(
        "grant", f"ws1|g:{groups[-1]}", {"share": "s2", "permission": 2, "expires": None, "chain": []}
    )
    assert isinstance(await timed(world.gate.admit_read("B", "alice.photos", 2)), Admitted)
    assert not isinstance(await timed(world.gate.buckets("B")), Denial)


async def test_a_credential_for_thousands_of_workspaces(world: World) -> None:
    key = {"user": "alice", "kind": "key", "secret": "s", "token": None, "parents": [], "permission": None,
           "expires": None, "enabled": True}  # fmt: skip
    scope = [f"w{number:015d}" for number in range(10_000)]
    await world.define("credential", "WIDE", {**key, "workspaces": scope})
    denied = await timed(world.gate.admit_read("WIDE", "photos", 1))
    assert isinstance(denied, Denial)
    await world.define("credential", "WIDER", {**key, "workspaces": [*scope, "ws1"]})
    assert isinstance(await timed(world.gate.admit_read("WIDER", "photos", 1)), Admitted)


ODD_KEYS = (
    b"a|b", b"ws1|ka", b"p", b"p:1", b"pupload1:1", b"a", b"ahold1:x", b"v", b"vx", b"line\nbreak", b"\xc3\xa9",
    b"\xff\xfe", b"%s%d%n", b"{}", b'"', b"\\u0000", b"\x7f", b" ", b"x" * 1024, b"k", b"kk", b":", b"x",
)  # fmt: skip


async def test_no_key_is_taken_for_another(world: World) -> None:
    """Each key has a group of its own: all are charged, and each is given back by its own end."""
    for number, key in enumerate(ODD_KEYS):
        answer = await world.gate.admit("A", "photos", 2, "put", f"hold{number}", key, size=1000, objects=1)
        assert isinstance(answer, Admitted)
        assert answer.duty == "read", key
    usage = await world.usage()
    assert (usage["hb"], usage["ho"]) == (1000 * len(ODD_KEYS), len(ODD_KEYS))
    for number in range(len(ODD_KEYS)):
        settlement = Settlement(f"hold{number}", Outcome.DONE, 0, 0, 1000, 1)
        assert await world.gate.settle([settlement]) == ["ok"]
    usage = await world.usage()
    assert (usage["b"], usage["o"], usage["hb"], usage["ho"]) == (1000 * len(ODD_KEYS), len(ODD_KEYS), 0, 0)
    assert not await world.live.redis.hlen(world.live.layout["KEYS_HASH"])


async def test_versions_and_added_objects_have_subjects_of_their_own(world: World) -> None:
    record = next(
        change for change in world.changes() if change.id == "ws1" and change.kind == "workspace"
    ).value
    assert record is not None
    await world.define("workspace", "ws1", {**record, "versioned": True})
    for number, (kind, key, version) in enumerate(
        (("put", b"a", ""), ("put", b"a", ""), ("delete", b"a", "v1"), ("delete", b"a", "v2"), ("delete", b"a", ""),
         ("delete", b"a|v", "v1"), ("put", b"h0:a", ""), ("delete", b"a", "v1:x"))
    ):  # fmt: skip
        answer = await world.gate.admit(
            "A", "photos", 2, kind, f"h{number}", key, size=10, objects=1, version=version
        )
        assert isinstance(answer, Admitted)
    assert await world.live.redis.hlen(world.live.layout["KEYS_HASH"]) == 8


async def test_large_numbers_stay_exact(world: World) -> None:
    """Five tebibytes at a time, up to the largest limit that can be set."""
    size = 5 * 1024**4 - 1
    for number in range(30):
        await world.gate.admit("A", "photos", 2, "put", f"h{number}", b"k%d" % number, size=size, objects=1)
        settlement = Settlement(f"h{number}", Outcome.DONE, 0, 0, size, 1)
        assert await world.gate.settle([settlement]) == ["ok"]
    assert (await world.usage())["b"] == 30 * size
    await world.limit("w:ws1", bytes=30 * size + 5)
    answer = await world.gate.admit("A", "photos", 2, "put", "fits", b"z", size=5, objects=1)
    assert isinstance(answer, Admitted)
    assert answer.duty == "read"
    # One byte more may join, but holds nothing before it knows that it replaces something.
    answer = await world.gate.admit("A", "photos", 2, "put", "not", b"y", size=1, objects=1)
    assert isinstance(answer, Admitted)
    assert answer.duty == "size"
    denied = await world.gate.size("not", base=0, base_objects=0)
    assert isinstance(denied, Denial)
    assert denied.details[3:6] == (str(30 * size + 5), str(30 * size + 5), "1")


async def test_one_workspaces_uploads_do_not_slow_another(world: World) -> None:
    """A listing of uploads reads those of its workspace, however many parts others have begun."""
    for number in range(30):
        await world.gate.begin_upload("other", f"other{number}", b"k", "node1", "nu")
    layout, redis = world.live.layout, world.live.redis
    for upload in range(30):
        parts = {f"other{upload}:{part}": "5242880" for part in range(1, 10_001)}
        await redis.hset(layout["UPLOADS"], mapping=parts)  # type: ignore[misc]
    assert await world.gate.begin_upload("ws1", "mine", b"k", "node1", "nu") is None
    listing = asyncio.ensure_future(world.gate.uploads("ws1"))
    slowest = 0.0
    while not listing.done():
        started = time.perf_counter()
        assert isinstance(await world.gate.admit_read("A", "photos", 1), Admitted)
        slowest = max(slowest, time.perf_counter() - started)
    found = await listing
    assert slowest < 0.25
    assert not isinstance(found, Denial)
    assert [upload for upload, _record in found] == ["mine"]


CORRUPT = (
    "",
    "not json",
    "[]",
    "1",
    "null",
    '"x"',
    "{",
    '{"v":1}',
    '{"enabled":true}',
    '{"enabled":true,"user":5}',
)


@pytest.mark.parametrize("hash_name", ["CREDENTIALS", "USERS", "WORKSPACES", "GRANTS"])
async def test_a_record_that_cannot_be_read_lets_nobody_in(world: World, hash_name: str) -> None:
    field = {"CREDENTIALS": "B", "USERS": "bob", "WORKSPACES": "ws1", "GRANTS": "ws1|u:bob"}[hash_name]
    assert isinstance(await world.gate.admit_read("B", "alice.photos", 1), Admitted)
    for value in CORRUPT:
        await world.live.redis.hset(world.live.layout[hash_name], field, value)  # type: ignore[misc]
        try:
            answer = await world.gate.admit_read("B", "alice.photos", 1)
        except GateUnavailable:
            continue
        assert isinstance(answer, Denial), value


@pytest.mark.parametrize("hash_name", ["LIMITS", "USAGE", "HOLDS", "KEYS_HASH", "GRANTS", "STATE"])
async def test_a_hash_of_another_type_closes_the_gate_and_leaves_the_books(
    world: World, hash_name: str
) -> None:
    """An error in the middle of a script: nothing of it was written, or all that was is on the side of charging."""
    layout, redis = world.live.layout, world.live.redis
    await redis.rename(layout[hash_name], "aside") if await redis.exists(layout[hash_name]) else None
    await redis.set(layout[hash_name], "a string")
    try:
        answer = await world.gate.admit("B", "alice.photos", 1, "put", "h1", b"k", size=10, objects=1)
    except GateUnavailable:
        answer = None
    assert not isinstance(answer, Admitted) or hash_name not in ("STATE", "GRANTS")
    await redis.delete(layout[hash_name])
    if await redis.exists("aside"):
        await redis.rename("aside", layout[hash_name])
    assert await world.gate.settle([Settlement("h1", Outcome.NONE)]) in (["ok"], ["gone"])
    usage = await world.usage()
    assert usage["b"] + usage["hb"] + usage["db"] >= 0


async def test_a_redis_without_memory_admits_nothing_and_still_reads(world: World) -> None:
    redis = world.live.redis
    await world.limit("w:ws1", bytes=1000)
    await redis.config_set("maxmemory", 1)
    try:
        assert isinstance(await world.gate.admit_read("A", "photos", 1), Admitted)
        with pytest.raises(GateUnavailable):
            await world.gate.admit("A", "photos", 2, "put", "h1", b"k", size=10, objects=1)
    finally:
        await redis.config_set("maxmemory", 0)
    assert (await world.usage())["hb"] == 0
    assert not await redis.hlen(world.live.layout["KEYS_HASH"])


async def test_a_clock_that_runs_backwards_brings_nothing_back(world: World) -> None:
    """Scripts use the latest time that was seen: what has expired stays expired."""
    expires = int(time.time() * 1000) + 60_000
    grant = {"share": "s9", "permission": 1, "expires": expires, "chain": []}
    await world.define("grant", "ws1|u:bob", grant)
    assert isinstance(await world.gate.admit_read("B", "alice.photos", 1), Admitted)
    await world.live.redis.hset(world.live.layout["STATE"], "clock", str(expires + 1))  # type: ignore[misc]
    assert isinstance(await world.gate.admit_read("B", "alice.photos", 1), Denial)


async def test_calls_that_wait_leave_connections_for_the_rest(world: World) -> None:
    """Anybody may send an unsigned AssumeRoleWithWebIdentity: with no broker to answer, they pile up."""
    client = CallClient(world.live, world.sealer)
    waiting = [asyncio.create_task(client.call("sts", {}, timeout=1.5)) for _ in range(200)]
    await asyncio.sleep(0.3)
    stream = world.live.layout["REVOCATIONS"]
    for _ in range(5):
        await world.live.redis.xread({stream: "0-0"}, count=1, block=10)
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, CallFailed)


def test_a_reply_with_a_line_break_in_it_is_no_route() -> None:
    """Prefixes are checked when they are made; here nothing is shifted into another field even so."""
    reply = [b"ok", b"1", b"u", b"ws", b"node", b"bucket", b"pre\nfix/", b"c:A", b"0", b"0", b"none", b""]
    with pytest.raises(ValueError, match="fields"):
        admitted(reply)
