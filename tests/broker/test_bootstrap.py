"""The first admin, node and root, and what happens when the node is another one the next time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.assemble import open_broker
from broker.bootstrap import bootstrap
from broker.settings import Settings
from tests.broker.conftest import ADMIN, Start
from tests.servers import Minio


def wanted(name: str, node: Minio, bucket: str) -> dict[str, Any]:
    return {
        "admin": ADMIN,
        "node": {
            "name": name,
            "endpoint": node.endpoint,
            "region": "us-east-1",
            "access_key_id": node.access_key,
            "secret_access_key": node.secret_key,
        },
        "root": {"name": name, "bucket": bucket, "kind": "private", "default": True, "create": "everyone"},
    }


async def test_with_another_node_new_workspaces_go_there_unless_an_admin_chose(
    start: Start, settings: Settings, minio: Minio, minio_factory: Callable[[], Minio]
) -> None:
    other, bucket = minio_factory(), "wio-" + settings.realm

    async def set_up(name: str, node: Minio) -> None:
        async with open_broker(settings, deferred=True) as broker:
            for _ in range(2):
                await bootstrap(broker, wanted(name, node, bucket))

    async def root_of(name: str) -> str:
        async with start() as world:
            made = await world.admin.ok("POST", "/workspaces", {"name": name})
            return str(made["root"])

    await set_up("local", minio)
    assert await root_of("first") == "local"
    await set_up("node", other)
    assert await root_of("second") == "node"
    await set_up("local", minio)
    assert await root_of("third") == "local"
    async with start() as world:
        chosen = {"name": "chosen", "node": "local", "bucket": bucket + "-2", "kind": "private"}
        await world.admin.ok("POST", "/roots", chosen)
        await world.admin.ok("POST", "/roots/chosen/default", {"everyone": True})
    await set_up("node", other)
    assert await root_of("fourth") == "chosen"
