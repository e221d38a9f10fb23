"""Several brokers on one Postgres: they take turns, and none of them sees half of what another does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from broker.assemble import open_broker
from broker.context import Broker
from broker.marks import get_mark
from broker.outbox import Entry, OutboxRow, write_entries
from broker.rehydrate import Rehydrator
from broker.settings import Settings
from quota import LiveStateError, new_id
from quota.epoch import rebuild
from tests import servers
from tests.broker.conftest import ADMIN, Start

DATABASES = ("postgres",)


@pytest.fixture
async def pair(settings: Settings) -> AsyncIterator[list[Broker]]:
    """Two brokers that start at once on an empty database: both migrate it, or find it migrated."""
    async with AsyncExitStack() as stack:
        opening = [stack.enter_async_context(open_broker(settings)) for _ in range(2)]
        yield list(await asyncio.gather(*opening))


async def test_outbox_rows_are_numbered_in_the_order_of_their_commits(pair: list[Broker]) -> None:
    committed: list[str] = []

    async def change(broker: Broker, batch: str) -> None:
        async with broker.db.write() as session:
            write_entries(session, batch, [Entry("revoke", f"w:{batch}"), Entry("revoke", f"u:{batch}")])
            await session.flush()
            await asyncio.sleep(0.01)
            # Still under the lock, which ends with the commit.
            committed.append(batch)

    batches = [new_id() for _ in range(16)]
    await asyncio.gather(*(change(pair[i % 2], batch) for i, batch in enumerate(batches)))
    async with pair[0].db.read() as session:
        rows = list(await session.scalars(select(OutboxRow).order_by(OutboxRow.id)))
    assert [row.batch for row in rows] == [batch for batch in committed for _ in range(2)]


async def test_two_that_find_the_state_lost_rebuild_it_once(pair: list[Broker]) -> None:
    watching = [Rehydrator(broker) for broker in pair]
    assert await asyncio.gather(*(one.look() for one in watching)) == [True, True]
    live = pair[0].live
    first = await live.epoch()
    for lost in (("epoch",), ("epoch", "run_id"), ("run_id",)):
        await live.redis.hdel(live.layout["STATE"], *lost)
        epochs: list[str] = []

        async def look(one: Rehydrator, epochs: list[str] = epochs) -> None:
            await one.look()
            epochs.append(await live.epoch())

        await asyncio.gather(*(look(one) for one in watching))
        assert len(set(epochs)) == 1
        assert epochs[0] != first
        async with pair[1].db.read() as session:
            assert await get_mark(session, "epoch") == epochs[0]
        first = epochs[0]


async def test_a_rebuild_that_lost_its_lock_opens_nothing(pair: list[Broker]) -> None:
    live = pair[0].live
    slow = rebuild(live, keep_counts=False, wait_for_leases=False)
    await slow.__aenter__()
    async with rebuild(pair[1].live, keep_counts=False, wait_for_leases=False):
        pass
    epoch = await live.epoch()
    with pytest.raises(LiveStateError, match="another broker"):
        await slow.__aexit__(None, None, None)
    assert await live.epoch() == epoch


async def test_both_serve_the_same_users_and_one_chain_of_audit(start: Start) -> None:
    async with start() as one, start() as two:
        names = [f"user-{i}" for i in range(8)]
        await asyncio.gather(
            *((one, two)[i % 2].admin.ok("POST", "/users", {"name": name}) for i, name in enumerate(names))
        )
        for world in (one, two):
            assert {row["name"] for row in await world.admin.ok("GET", "/users")} == {"admin", *names}
            assert (await world.admin.ok("GET", "/audit/verify"))["problem"] is None
        bob = await one.user("bob")
        await two.admin.ok("POST", "/users/bob/disable")
        assert await bob.refused("GET", "/whoami") == (403, "AccessDenied")


async def test_the_broker_alone_serves_from_postgres(
    start: Start, settings: Settings, tmp_path: Path
) -> None:
    async with start():
        pass
    port = servers.free_port()
    url = f"http://127.0.0.1:{port}"
    running = servers.running(
        [sys.executable, "-m", "broker", "--port", str(port)],
        ready=lambda: servers.http_status(url, "/-/ready") == 200,
        log=tmp_path / "broker.log",
        env=servers.clean_env(
            WIO_DATABASE_URL=settings.database_url,
            WIO_REDIS_URL=settings.redis_url,
            WIO_REALM=settings.realm,
            WIO_SECRET=settings.secret.get_secret_value(),
            WIO_LEASE_SECONDS="0.5",
        ),
    )
    await asyncio.to_thread(running.__enter__)
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            credential = ADMIN["access_key_id"], ADMIN["secret_access_key"]
            answer = await http.get(f"{url}/api/v1/whoami", auth=credential)
        assert answer.json()["user"] == "admin"
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
