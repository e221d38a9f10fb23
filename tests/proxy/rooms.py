"""What tests of room need beside a gate: a recount without a broker, a second proxy, and clients that break off."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.nodes.client import open_node
from broker.nodes.models import Node
from broker.quotas.listing import Place
from broker.quotas.recount import count
from tests import servers
from tests.proxy.gates import SECRET, Gate


def recount(gate: Gate, endpoint: str | None = None, *, versioned: bool = False) -> tuple[int, int]:
    """Recount alice's photos at their node; returns the drift."""
    node = Node(
        id="node1", name="node", endpoint=endpoint or gate.minio.endpoint, region="us-east-1",
        access_key_id=gate.minio.access_key, addresses=["127.0.0.1"],
    )  # fmt: skip

    async def run() -> tuple[int, int]:
        live = await gate.live()
        try:
            async with open_node(node, gate.minio.secret_key) as client:
                place = Place(client, gate.bucket, gate.prefix("photos"), versioned=versioned)
                return await count(live, gate.sealer, place, "wsphotos", versioned=versioned, patience=20)
        finally:
            await live.aclose()

    return asyncio.run(run())


def reap(gate: Gate) -> list[str]:
    """End the leases that ran out, as a broker does every lease; returns the workers."""

    async def run() -> list[str]:
        live = await gate.live()
        try:
            return await live.reap(gate.settings.commit_seconds)
        finally:
            await live.aclose()

    return asyncio.run(run())


@contextmanager
def another_proxy(gate: Gate, folder: Path) -> Iterator[str]:
    """A second proxy of the same realm; yields its endpoint."""
    port = servers.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with servers.running(
        [sys.executable, "-m", "proxy", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        ready=lambda: servers.http_status(endpoint, "/-/ready") == 200,
        log=folder / "second.log",
        env={
            "WIO_REDIS_URL": gate.settings.redis_url,
            "WIO_REALM": gate.settings.realm,
            "WIO_SECRET": SECRET,
            "WIO_LEASE_SECONDS": str(gate.settings.lease_seconds),
            "WIO_COMMIT_SECONDS": str(gate.settings.commit_seconds),
        },
    ):
        yield endpoint
