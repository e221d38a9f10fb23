"""Where workspaces lie: prefixes that never overlap within a physical bucket, and how one is emptied.

Deleting closes the workspace to writes, waits for those at work, looks at objects, versions and uploads,
and then removes the workspace or opens it again (protocol, rule 18).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker.context import Broker, Unit, revoked
from broker.errors import ApiError, conflict, not_found
from broker.keys.models import Credential
from broker.keys.service import kill_credentials
from broker.nodes.client import NodeClient, open_client
from broker.nodes.models import Node
from broker.policy import SYSTEM, Caller
from broker.quotas.models import Limit
from broker.roots.models import Root
from broker.shares.tree import drop_shares, shares_of
from broker.workspaces.models import Upload, Workspace
from quota import LiveState

_log = structlog.get_logger(__name__)
#: Longest wait for writes at work in a workspace that is being deleted without purge, in seconds.
DRAIN_SECONDS = 15.0


def overlap(one: str, other: str) -> bool:
    """Whether two prefixes, each `""` or ending in `/`, share any key."""
    return one.startswith(other) or other.startswith(one)


async def same_bucket_roots(session: AsyncSession, node: Node, bucket: str) -> list[Root]:
    """Every root in the same physical bucket, through whichever node definition it is reached."""
    nodes = [other.id for other in await session.scalars(select(Node)) if same_server(node, other)]
    found = await session.scalars(select(Root).where(Root.bucket == bucket, Root.node_id.in_(nodes)))
    return list(found)


def same_server(one: Node, other: Node) -> bool:
    """Whether two nodes are one server: the same endpoint, or the same port at a common address."""
    first, second = urlsplit(one.endpoint), urlsplit(other.endpoint)
    if (first.hostname, _port(one)) == (second.hostname, _port(other)):
        return True
    return _port(one) == _port(other) and bool(set(one.addresses) & set(other.addresses))


def _port(node: Node) -> int:
    parts = urlsplit(node.endpoint)
    return parts.port or (443 if parts.scheme == "https" else 80)


async def check_place(session: AsyncSession, root: Root, prefix: str) -> None:
    """Raises ApiError (409) when `prefix` overlaps a workspace, or reaches into another root's ground.

    The session must hold the write lock, or two makers could both find the place free.
    """
    node = await session.get_one(Node, root.node_id)
    neighbours = await same_bucket_roots(session, node, root.bucket)
    taken = select(Workspace.prefix).where(Workspace.root_id.in_([one.id for one in neighbours]))
    if any(overlap(prefix, other) for other in await session.scalars(taken)):
        raise conflict("Another workspace already covers that prefix or part of it.", "PrefixOverlap")
    for other in neighbours:
        if other.id != root.id and other.kind != "unmanaged" and overlap(prefix, other.prefix):
            raise conflict("That prefix reaches into a root used only for workspaces.", "PrefixOverlap")


async def delete_workspace_row(unit: Unit, workspace: Workspace) -> tuple[list[str], list[str]]:
    """Removes an emptied workspace with its shares, links, limits and names; returns (sessions, links)."""
    session = unit.session
    tops = [share.id for share in await shares_of(session, workspace.id) if share.parent_id is None]
    dropped = await drop_shares(unit, tops)
    links = await session.scalars(
        select(Credential).where(Credential.link_workspace == workspace.id, Credential.deleted_at.is_(None))
    )
    killed = await kill_credentials(unit, list(links))
    limit = await session.get(Limit, f"w:{workspace.id}")
    if limit is not None:
        await session.delete(limit)
        unit.touch("limit", limit.id)
    for upload in await session.scalars(select(Upload).where(Upload.workspace_id == workspace.id)):
        await session.delete(upload)
    await session.delete(workspace)
    unit.touch("workspace", workspace.id)
    unit.revoke(f"w:{workspace.id}")
    return [*dropped.sessions, *killed.sessions], [*dropped.links, *killed.links]


async def purge_workspace(broker: Broker, caller: Caller, workspace_id: str) -> dict[str, Any]:
    """Deletes a workspace and everything in it. The caller has been authorised."""
    return await delete_place(broker, caller, workspace_id, purge=True)


async def delete_place(broker: Broker, caller: Caller, workspace_id: str, *, purge: bool) -> dict[str, Any]:
    """Deletes a workspace: with its content (`purge`), or only if it is empty. The caller is authorised.

    Raises ApiError (409 BucketNotEmpty) when something is in it, and (503) when the node cannot be asked:
    the workspace is open again then. One that a broker was deleting when it died may be deleted again.
    """
    if workspace_id in broker.deleting:
        raise conflict("The workspace is being deleted already.", "OperationAborted")
    broker.deleting.add(workspace_id)
    try:
        return await _delete_place(broker, caller, workspace_id, purge=purge)
    finally:
        broker.deleting.discard(workspace_id)


async def _delete_place(broker: Broker, caller: Caller, workspace_id: str, *, purge: bool) -> dict[str, Any]:
    async with broker.db.read() as session:
        workspace = await session.get(Workspace, workspace_id)
        if workspace is None:
            raise not_found("workspace", workspace_id)
        root = await session.get_one(Root, workspace.root_id)
        node = await session.get_one(Node, root.node_id)
    if not purge:
        # Looked at first with writes going on, so that a vain attempt stops nobody's.
        await _check_content(broker, workspace, root, node)
    await _close(broker, caller, workspace_id, cut=purge)
    try:
        await _drain(broker.live, workspace_id, broker.settings.commit_seconds)
        if purge:
            await _remove_content(broker, workspace, root, node)
        await _check_content(broker, workspace, root, node)
        async with broker.change(caller) as unit:
            row = await unit.session.get(Workspace, workspace_id)
            if row is None or row.state != "draining":
                # Another broker was at it as well, gave up, and opened it: anything may have been written since.
                raise conflict(  # noqa: TRY301 - reopens it
                    "The workspace was opened again meanwhile.", "OperationAborted"
                )
            sessions, links = await delete_workspace_row(unit, row)
            unit.note(
                "workspace.delete", workspace=workspace_id, owner=row.owner_id, purged=purge,
                sessions=len(sessions), links=len(links),
            )  # fmt: skip
    except BaseException:
        await asyncio.shield(_reopen(broker, workspace_id))
        raise
    return revoked(unit, [workspace_id], sessions=len(sessions), links=len(links))


async def _check_content(broker: Broker, workspace: Workspace, root: Root, node: Node) -> None:
    if await _recorded_uploads(broker.live, workspace.id):
        raise conflict(
            "The workspace has unfinished uploads; `wio workspace delete --purge` ends them, too.",
            "BucketNotEmpty",
        )
    async with open_client(broker.sealer, node) as client:
        await check_empty(client, root.bucket, workspace.prefix)


async def _remove_content(broker: Broker, workspace: Workspace, root: Root, node: Node) -> None:
    async with open_client(broker.sealer, node) as client:
        for upload, record in await _recorded_uploads(broker.live, workspace.id):
            # A node may not list them (MinIO does so only for an exact key): ours are aborted by our records.
            node_upload = broker.sealer.open(record["nu"], b"node-upload").decode()
            await client.abort(root.bucket, workspace.prefix + record["key"], node_upload)
            await broker.live.run("end_upload", await broker.live.epoch(), workspace.id, upload)
        await empty(client, root.bucket, workspace.prefix)


async def _recorded_uploads(live: LiveState, workspace_id: str) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    async for raw, value in live.redis.hscan_iter(live.layout["UPLOADS"], count=500):
        name = raw.decode()
        if ":" not in name and (record := json.loads(value))["ws"] == workspace_id:
            found.append((name, record))
    return found


async def _close(broker: Broker, caller: Caller, workspace_id: str, *, cut: bool) -> None:
    """Lets no write begin from now on; with `cut`, ends every transfer at work."""
    async with broker.change(caller) as unit:
        workspace = await unit.session.get(Workspace, workspace_id)
        if workspace is None:
            raise not_found("workspace", workspace_id)
        workspace.state = "draining"
        unit.touch("workspace", workspace_id)
        unit.note("workspace.close", workspace=workspace_id, owner=workspace.owner_id)
        if cut:
            unit.revoke(f"w:{workspace_id}")


async def _reopen(broker: Broker, workspace_id: str) -> None:
    # By the gate itself: whoever wanted it deleted may have been revoked meanwhile.
    async with broker.change(SYSTEM) as unit:
        workspace = await unit.session.get(Workspace, workspace_id)
        if workspace is not None:
            workspace.state = "open"
            unit.touch("workspace", workspace_id)
            unit.note("workspace.reopen", workspace=workspace_id, owner=workspace.owner_id)


async def _drain(live: LiveState, workspace_id: str, commit_seconds: float) -> None:
    """Waits until no write is at work, nor may still be stored by the node after a cut."""
    deadline = asyncio.get_running_loop().time() + max(DRAIN_SECONDS, commit_seconds + live.lease_seconds)
    while True:
        reply = await live.run("doubts", await live.epoch(), workspace_id, 10_000)
        if reply[0] in (b"ok", "ok") and len(reply) == 2:
            return
        usage = (await live.usage([f"w:{workspace_id}"]))[0]
        if not (usage["hb"] or usage["ho"]) and _all_settled(reply):
            return
        if asyncio.get_running_loop().time() > deadline:
            raise ApiError("OperationAborted", "Writes in the workspace did not end; try again.", 409)
        await asyncio.sleep(0.1)


def _all_settled(reply: list[Any]) -> bool:
    # Groups in doubt stay until a look: by their time the node can commit no more, and listing tells the truth.
    now = int(reply[1])
    for _subject, raw in reply[2:]:
        group = json.loads(raw)
        if group.get("n", 0) > 0 or group.get("qt", 0) > now:
            return False
    return True


async def check_empty(client: NodeClient, bucket: str, prefix: str) -> None:
    """Raises ApiError (409) when an object, a version, a delete marker or an upload lies under the prefix."""
    for listing in (client.versions(bucket, prefix), client.uploads(bucket, prefix)):
        async for _ in listing:
            raise conflict(
                "The workspace is not empty; `wio workspace delete --purge` deletes what is in it, too.",
                "BucketNotEmpty",
            )


async def empty(client: NodeClient, bucket: str, prefix: str) -> None:
    """Removes every version, marker and upload under the prefix."""
    async for batch in client.version_batches(bucket, prefix):
        await client.delete(bucket, batch)
    async for key, upload in client.uploads(bucket, prefix):
        await client.abort(bucket, key, upload)
