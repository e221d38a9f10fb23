"""SQL is the truth: what is committed is applied, and lost live state comes back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.broker.conftest import Start, World
from tests.servers import Minio, Valkey

DATABASES = ("sqlite", "postgres")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def dump(world: World) -> dict[str, dict[bytes, bytes]]:
    live = world.broker.live
    names = ("CREDENTIALS", "USERS", "WORKSPACES", "GRANTS", "NAMES", "NODES", "LIMITS")
    found = {name: await live.redis.hgetall(live.layout[name]) for name in names}  # type: ignore[misc]
    return {
        name: {key: value.split(b',"v":')[0] for key, value in fields.items() if b'"x":1' not in value}
        for name, fields in found.items()
    }


async def test_a_state_that_is_lost_is_rebuilt_as_it_was(start: Start, minio: Minio) -> None:
    async with start(minio) as world:
        bob = await world.user("bob")
        await bob.ok("POST", "/workspaces", {"name": "photos"})
        share = await bob.ok(
            "POST", "/shares", {"workspace": "photos", "principal": "admin", "permission": "own"}
        )
        await bob.ok("POST", "/workspaces", {"name": "gone"})
        await bob.ok("DELETE", "/workspaces/gone")
        limit = {"level": "user", "subject": "bob", "bytes": 1000, "soft": 80, "grace": "7d"}
        assert (await world.admin.ok("PUT", "/quotas", limit))["soft_limit_bytes"] == 800
        before = await dump(world)
        live, rehydrator = world.broker.live, world.app.state.rehydrator
        epoch = await live.epoch()
        keys = [key async for key in live.redis.scan_iter(match=f"{{{live.layout.realm}}}:*")]
        await live.redis.delete(*keys)
        await until(lambda: not rehydrator.is_ready)
        await until(lambda: rehydrator.is_ready)
        assert await live.epoch() != epoch
        assert await dump(world) == before
        assert share["id"].encode() in next(iter(before["GRANTS"].values()))
        await bob.ok("DELETE", "/workspaces/photos")
    async with start(minio) as world:
        assert await world.admin.ok("GET", "/workspaces", all="true") == []
        assert (await world.admin.ok("GET", "/audit/verify"))["ok"]


async def test_after_a_loss_usage_is_counted_again(start: Start, minio: Minio) -> None:
    import boto3

    async with start(minio) as world:
        made = await world.admin.ok("POST", "/workspaces", {"name": "photos"})
        record = await world.broker.live.workspace(made["id"])
        assert record is not None
        node = boto3.client(
            "s3", endpoint_url=minio.endpoint, aws_access_key_id=minio.access_key,
            aws_secret_access_key=minio.secret_key, region_name="us-east-1",
        )  # fmt: skip
        for size in (10, 20):
            key = f"{record['prefix']}{size}"
            await asyncio.to_thread(node.put_object, Bucket=record["bucket"], Key=key, Body=b"x" * size)
        drift = await world.admin.ok("POST", "/quotas/recount", {"workspace": "photos"})
        assert (drift["drift_bytes"], drift["drift_objects"]) == (30, 2)
        live = world.broker.live
        await live.redis.delete(live.layout["STATE"], live.layout["USAGE"])
        async with asyncio.timeout(20):
            while True:
                answer = await world.admin.call("GET", "/quotas", level="workspace", subject="photos")
                if (
                    answer.is_success
                    and answer.json()[0]["used_bytes"] == 30
                    and not answer.json()[0]["recount_pending"]
                ):
                    break
                await asyncio.sleep(0.02)


async def test_without_redis_a_change_is_recorded_and_applied_later(
    start: Start, valkey_factory: Callable[[], Valkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    monkeypatch.setattr("broker.outbox.PATIENCE_SECONDS", 0.2)
    server = valkey_factory()
    async with start(redis_url=server.url) as world:
        bob = await world.user("bob")
        server.process.send_signal(signal.SIGSTOP)
        try:
            answer = await world.admin.call("POST", "/users/bob/disable")
            assert answer.status_code == 503
            assert "recorded" in answer.json()["error"]["message"]
            assert await bob.refused("GET", "/whoami") == (403, "AccessDenied"), "SQL already says so"
        finally:
            server.process.send_signal(signal.SIGCONT)
        user = (await world.admin.ok("GET", "/users/bob"))["id"]
        async with asyncio.timeout(20):
            while True:
                try:
                    if b'"enabled":false' in (await world.broker.live.hget("USERS", user) or b""):
                        break
                except Exception:  # noqa: BLE001 - it is just waking up
                    pass
                await asyncio.sleep(0.05)


async def test_the_audit_chain_shows_what_was_done_to_it(world: World) -> None:
    from sqlalchemy import text

    await world.user("bob")
    assert (await world.admin.ok("GET", "/audit/verify"))["problem"] is None
    bob_sees = {row["action"] for row in await world.admin.ok("GET", "/audit")}
    assert {"user.create", "key.create"} <= bob_sees
    for statement, word in (
        ("UPDATE audit SET \"user\" = 'eve' WHERE id = 1", "altered"),
        ("DELETE FROM audit WHERE id = 1", "missing"),
        ("DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)", "cut off"),
        ("UPDATE audit_head SET rows = rows - 1", "head"),
    ):
        async with world.broker.db.engine.connect() as connection:
            kept = await connection.begin()
            await connection.execute(text(statement))
            from sqlalchemy.ext.asyncio import AsyncSession

            async with AsyncSession(bind=connection) as session:
                found = await world.broker.chain.verify(session)
            await kept.rollback()
        assert found.problem is not None
        assert word in found.problem
