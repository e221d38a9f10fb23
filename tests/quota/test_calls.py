"""Calls from the data plane to the control plane, and a server of them that stops when it is told to."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from quota import LiveSettings, LiveState, Sealer, new_id
from quota.calls import CallClient, CallFailed, CallServer
from tests.servers import Valkey


async def live_state(valkey: Valkey) -> LiveState:
    return await LiveState.connect(
        LiveSettings(
            redis_url=valkey.url, realm="t" + new_id(), secret="a secret of forty characters, for tests."
        )
    )


async def test_a_call_is_answered_and_a_failure_is_told(valkey: Valkey) -> None:
    live, sealer = await live_state(valkey), Sealer("a secret of forty characters, for tests.")

    async def double(payload: dict[str, Any]) -> dict[str, Any]:
        return {"number": 2 * payload["number"]}

    server = asyncio.create_task(CallServer(live, sealer, {"double": double}).run())
    try:
        client = CallClient(live, sealer)
        async with asyncio.timeout(20):
            while True:
                try:
                    # The server's first command makes the group that hears what comes after it.
                    assert await client.call("double", {"number": 21}, timeout=1) == {"number": 42}
                    break
                except CallFailed:
                    continue
        with pytest.raises(CallFailed, match="its log says why"):
            await client.call("unheard-of", {})
    finally:
        server.cancel()
        await asyncio.wait([server], timeout=20)
        await live.aclose()
    assert server.cancelled()


async def test_one_cancellation_stops_the_server_at_whatever_moment(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, sealer = await live_state(valkey), Sealer("a secret of forty characters, for tests.")
    read = live.redis.xreadgroup

    def short(*args: Any, **options: Any) -> Any:
        # Empty answers often, so that a cancellation and an answer meet in some of the rounds.
        return read(*args, **options | {"block": 10})

    monkeypatch.setattr(live.redis, "xreadgroup", short)
    pauses = random.Random(1)
    for _ in range(100):
        server = asyncio.create_task(CallServer(live, sealer, {}).run())
        await asyncio.sleep(pauses.random() * 0.03)
        server.cancel()
        await asyncio.wait([server], timeout=20)
        assert server.cancelled()
    await live.aclose()


async def test_a_cancellation_that_the_client_swallows_stops_the_server(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, sealer = await live_state(valkey), Sealer("a secret of forty characters, for tests.")
    reading = asyncio.Event()

    async def deaf(*args: Any, **options: Any) -> list[Any]:
        reading.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return []
        raise AssertionError("never")

    monkeypatch.setattr(live.redis, "xreadgroup", deaf)
    server = asyncio.create_task(CallServer(live, sealer, {}).run())
    await reading.wait()
    server.cancel()
    await asyncio.wait([server], timeout=20)
    assert server.cancelled()
    await live.aclose()
