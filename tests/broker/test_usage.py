"""Usage through losses: what is in doubt is cleared by itself, and no limit is exceeded after Redis came back older."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from broker.settings import Settings
from quota import Outcome, Settlement
from quota.gate import Gate
from quota.wire import Wire
from tests import servers
from tests.broker.conftest import Client, Start, World
from tests.broker.test_planes import SIZE, Forwarder, Planes, command, planes, redis
from tests.broker.test_planes_upkeep import at_node


@pytest.fixture
async def both(
    start: Start, settings: Settings, minio: servers.Minio, valkey: servers.Valkey, tmp_path: Path
) -> AsyncIterator[Planes]:
    async with planes(start, settings, minio, tmp_path, valkey.url) as running:
        yield running


async def put(both: Planes, key: str, size: int, bucket: str = "photos") -> str:
    """What S3 answers to a PUT: OK, or an error's code."""
    client = both.s3(both.alice)
    try:
        await asyncio.to_thread(client.put_object, Bucket=bucket, Key=key, Body=b"x" * size)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "OK"


async def level(who: Client, name: str = "photos") -> dict[str, Any]:
    (found,) = await who.ok("GET", "/quotas", level="workspace", subject=name)
    shown: dict[str, Any] = found
    return shown


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def place_of(both: Planes, name: str) -> dict[str, Any]:
    """The live state's record of a workspace."""
    id = (await both.alice.ok("GET", f"/workspaces/{name}"))["id"]
    record = await both.world.broker.live.workspace(id)
    assert record is not None
    return record


def at(minio: servers.Minio, record: dict[str, Any]) -> int:
    """Bytes that the node holds of a workspace."""
    answer = at_node(minio).list_objects_v2(Bucket=record["bucket"], Prefix=record["prefix"])
    return sum(item["Size"] for item in answer.get("Contents", ()))


@pytest.mark.parametrize("how", ["restored", "empty"])
async def test_redis_from_before_a_settle_lets_nothing_over_a_limit(
    start: Start, settings: Settings, minio: servers.Minio, tmp_path: Path, how: str
) -> None:
    """Protocol, test 3, as far as it is about room."""
    with ExitStack() as stack:
        old, process = stack.enter_context(redis(tmp_path / "old", "--dbfilename", "then.rdb"))
        front = Forwarder(old)
        stack.callback(front.close)
        async with planes(start, settings, minio, tmp_path, f"redis://127.0.0.1:{front.port}/0") as both:
            limit = {"level": "workspace", "subject": "alice/photos", "bytes": SIZE + 100}
            await both.world.admin.ok("PUT", "/quotas", limit)
            await both.alice.ok("POST", "/workspaces", {"name": "unlimited"})
            place = await place_of(both, "photos")
            assert await put(both, "a", 60) == "OK"
            await command(old, "SAVE")
            assert await put(both, "b", 40) == "OK"
            assert await put(both, "c", 1) == "QuotaExceeded"
            process.kill()
            (tmp_path / "again").mkdir()
            if how == "restored":
                (tmp_path / "old" / "then.rdb").rename(tmp_path / "again" / "then.rdb")
            again, _ = stack.enter_context(redis(tmp_path / "again", "--dbfilename", "then.rdb"))
            front.turn(again)
            codes: list[str] = []

            async def is_full() -> bool:
                codes.append(await put(both, f"c{len(codes)}", 30))
                assert at(minio, place) <= SIZE + 100
                if codes[-1] == "SlowDown" and await put(both, "there", 5, "unlimited") == "OK":
                    # Where there is no limit nothing waits for the recount, but for the new epoch only.
                    codes[-1] = "unlimited went on"
                return codes[-1] == "QuotaExceeded"

            await until(is_full, 60)
            assert set(codes) <= {"QuotaExceeded", "SlowDown", "unlimited went on"}, codes
            assert "unlimited went on" in codes
            await until(lambda: _settled(both.alice))
            assert (await level(both.alice))["used_bytes"] == at(minio, place) == SIZE + 100


async def _settled(who: Client) -> bool:
    shown = await level(who)
    return not (shown["held_bytes"] or shown["doubt_bytes"] or shown["recount_pending"])


async def test_usage_comes_back_from_its_last_snapshot_and_is_recounted(
    both: Planes, minio: servers.Minio
) -> None:
    rehydrator, live = both.world.app.state.rehydrator, both.world.broker.live
    assert await put(both, "a", 60) == "OK"
    await rehydrator.upkeep._snapshot()
    keys = [key async for key in live.redis.scan_iter(match=f"{{{live.layout.realm}}}:*")]
    await live.redis.unlink(*keys)

    async def is_back() -> bool:
        answer = await both.alice.call("GET", "/quotas", level="workspace", subject="photos")
        return answer.is_success and answer.json()[0]["used_bytes"] == SIZE + 60

    await until(is_back)
    await until(lambda: _settled(both.alice))
    (user,) = [row for row in await both.alice.ok("GET", "/quotas") if row["level"] == "user"]
    assert (user["used_bytes"], user["used_objects"]) == (SIZE + 60, 2)


async def _gate(world: World) -> tuple[Gate, Wire]:
    settings = world.broker.settings
    wire = Wire(settings.redis_url)
    await wire.connect()
    gate = Gate(wire, settings.realm, settings.commit_seconds)
    gate.epoch, gate.worker = await world.broker.live.epoch(), "a-worker"
    return gate, wire


async def test_a_doubt_is_looked_at_as_soon_as_the_node_can_commit_no_more(
    stored: World, minio: servers.Minio
) -> None:
    made = await stored.admin.ok("POST", "/workspaces", {"name": "photos"})
    gate, wire = await _gate(stored)
    record = await stored.broker.live.workspace(made["id"])
    assert record is not None
    for key, base in (("kept", 0), ("lost", 0), ("base-lost", -1)):
        admitted = await gate.admit(
            stored.admin.access_key_id, "photos", 2, "put", f"hold-{key}", key.encode(), size=70, objects=1
        )
        assert not hasattr(admitted, "code"), admitted
        await gate.settle([Settlement(f"hold-{key}", Outcome.DOUBT, base_bytes=base)])
    assert (await level(stored.admin))["doubt_bytes"] == 210
    for key in ("kept", "base-lost"):
        await asyncio.to_thread(
            at_node(minio).put_object, Bucket=record["bucket"], Key=record["prefix"] + key, Body=b"x" * 70
        )
    await until(lambda: _settled(stored.admin))
    shown = await level(stored.admin)
    assert (shown["used_bytes"], shown["used_objects"]) == (140, 2)
    await gate.aclose()
    await wire.aclose()


async def test_uploads_that_nobody_completes_are_ended_and_freed(both: Planes, minio: servers.Minio) -> None:
    client = both.s3(both.alice)
    begun = await asyncio.to_thread(client.create_multipart_upload, Bucket="photos", Key="never")
    await asyncio.to_thread(
        client.upload_part,
        Bucket="photos",
        Key="never",
        UploadId=begun["UploadId"],
        PartNumber=1,
        Body=b"x" * 500,
    )
    shown = await level(both.alice)
    assert (shown["used_bytes"], shown["multipart_bytes"]) == (SIZE + 500, 500)
    upkeep = both.world.app.state.rehydrator.upkeep
    assert await upkeep.end_stale_uploads() == 0
    old = upkeep._broker.settings.model_copy(update={"upload_days": 1e-9})
    object.__setattr__(upkeep._broker, "settings", old)
    assert await upkeep.end_stale_uploads() == 1
    shown = await level(both.alice)
    assert (shown["used_bytes"], shown["multipart_bytes"]) == (SIZE, 0)
    with pytest.raises(ClientError, match="NoSuchUpload"):
        await asyncio.to_thread(client.list_parts, Bucket="photos", Key="never", UploadId=begun["UploadId"])


async def test_a_recount_finds_parts_and_objects_that_the_books_do_not_know(
    both: Planes, minio: servers.Minio
) -> None:
    client, live = both.s3(both.alice), both.world.broker.live
    begun = await asyncio.to_thread(client.create_multipart_upload, Bucket="photos", Key="slow")
    await asyncio.to_thread(
        client.upload_part,
        Bucket="photos",
        Key="slow",
        UploadId=begun["UploadId"],
        PartNumber=1,
        Body=b"x" * 500,
    )
    await live.redis.delete(live.layout["USAGE"])
    (upload,) = [key async for key in _uploads(live) if b":" not in key]
    await live.redis.hdel(live.layout["UPLOADS"], upload + b":1")
    counted = await both.alice.ok("POST", "/quotas/recount", {"workspace": "photos"})
    assert (counted["drift_bytes"], counted["drift_objects"]) == (SIZE + 500, 1)
    shown = await level(both.alice)
    assert (shown["used_bytes"], shown["multipart_bytes"]) == (SIZE + 500, 500)
    assert shown["recounted_at"] is not None
    metrics = (await both.world.http.get("/-/metrics")).text
    assert "wio_broker_drift_bytes_total" in metrics
    await asyncio.to_thread(
        client.abort_multipart_upload, Bucket="photos", Key="slow", UploadId=begun["UploadId"]
    )
    assert (await level(both.alice))["used_bytes"] == SIZE


async def _uploads(live: Any) -> AsyncIterator[bytes]:
    async for key, _value in live.redis.hscan_iter(live.layout["UPLOADS"]):
        yield key


async def test_who_may_set_which_limit(stored: World) -> None:
    alice, bob = await stored.user("alice"), await stored.user("bob")
    await alice.ok("POST", "/workspaces", {"name": "photos"})
    photos = {"level": "workspace", "subject": "alice/photos"}
    # What nobody has limited, its owner may limit, and widen again.
    assert (await alice.ok("PUT", "/quotas", photos | {"bytes": 500}))["limit_bytes"] == 500
    # What an admin gave is the most.
    await stored.admin.ok("PUT", "/quotas", photos | {"bytes": 1000, "soft": 80, "grace": "7d"})
    assert (await alice.ok("PUT", "/quotas", photos | {"bytes": 900}))["limit_bytes"] == 900
    assert await alice.refused("PUT", "/quotas", photos | {"bytes": 1001}) == (403, "AccessDenied")
    assert await alice.refused("PUT", "/quotas", photos | {"bytes": 1001, "for": "1h"}) == (
        403,
        "AccessDenied",
    )
    assert (await alice.ok("PUT", "/quotas", photos | {"none": True}))["limit_bytes"] == 1000
    assert await bob.refused("PUT", "/quotas", photos | {"bytes": 1}) in (
        (403, "AccessDenied"),
        (404, "NotFound"),
    )
    for body in (
        {"level": "user", "subject": "alice", "bytes": 1},
        {"level": "root", "subject": "local", "bytes": 1},
        {"level": "user-root", "subject": "alice", "root": "local", "bytes": 1},
        {"level": "user", "default": True, "bytes": 1},
    ):
        assert await alice.refused("PUT", "/quotas", body) == (403, "AccessDenied"), body
    # A root's managers set its limits, and those of users on it.
    await stored.admin.ok("PUT", "/roots/local/grants", {"principal": "alice", "permission": "manage"})
    assert (await alice.ok("PUT", "/quotas", {"level": "root", "subject": "local", "bytes": 5000}))[
        "limit_bytes"
    ] == 5000
    one = {"level": "user-root", "subject": "bob", "root": "local", "bytes": 50}
    assert (await alice.ok("PUT", "/quotas", one))["limit_bytes"] == 50
    # Everybody sees their own, and no one else's.
    assert {row["subject"] for row in await bob.ok("GET", "/quotas") if row["level"] == "user"} == {"bob"}
    assert (await bob.call("GET", "/quotas", level="user", subject="alice")).status_code in (403, 404)


async def test_own_quotas_are_not_lost_among_what_is_shared(stored: World) -> None:
    """However many workspaces are shared with somebody, a page of their quotas begins with their own."""
    alice, bob = await stored.user("alice"), await stored.user("bob")
    for who in ("alice", "bob"):
        await stored.admin.ok("PUT", "/roots/local/grants", {"principal": who, "permission": "create"})
    for i in range(12):
        await alice.ok("POST", "/workspaces", {"name": f"wsp{i}"})
        await alice.ok("POST", "/shares", {"workspace": f"wsp{i}", "principal": "bob", "permission": "read"})
    for i in range(2):
        await bob.ok("POST", "/workspaces", {"name": f"mine{i}"})
    rows = await bob.ok("GET", "/quotas", limit=4)
    assert sorted(row["subject"] for row in rows) == ["bob", "bob local", "bob.mine0", "bob.mine1"]
