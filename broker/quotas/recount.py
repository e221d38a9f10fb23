"""Counting a workspace anew by listing it, exact among writes that go on (protocol, rule 11)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from broker.context import Broker
from broker.errors import ApiError
from broker.nodes.client import NodeClient, NodeError, children, open_client, plain_key, text_of
from broker.nodes.models import Node
from broker.roots.models import Root
from broker.workspaces.models import Workspace
from quota import LiveState, NotReady, new_id
from sigv4 import encode_component, encode_path

TRIES = 20
_PAUSE_SECONDS = 0.25


async def recount(broker: Broker, workspace_id: str) -> dict[str, int]:
    """Sets the workspace's usage to what its node holds; answers the drift that was found.

    Raises ApiError: 404; 502 when the node cannot be asked; 503 when keys changed at every try.
    """
    async with broker.db.read() as session:
        workspace = await session.get(Workspace, workspace_id)
        if workspace is None:
            raise ApiError("NoSuchBucket", "There is no such workspace.", 404)
        root = await session.get_one(Root, workspace.root_id)
        node = await session.get_one(Node, root.node_id)
    async with open_client(broker.sealer, node) as client:
        counting = _Recount(broker.live, client, root.bucket, workspace.prefix, workspace_id, root.versioned)
        return await counting.run()


class _Recount:
    def __init__(
        self, live: LiveState, client: NodeClient, bucket: str, prefix: str, workspace: str, versioned: bool
    ) -> None:
        self._live = live
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._workspace = workspace
        self._versioned = versioned
        self._recount = new_id()

    async def run(self) -> dict[str, int]:
        await self._ask("recount_begin", self._workspace, self._recount)
        sizes, versions = await self._listed()
        total = sum(sizes.values())
        version_bytes, version_objects = versions
        why = ""
        for _ in range(TRIES):
            left_out, looked, resolved = await self._busy()
            listed = [key for key in left_out if key in sizes]
            bytes_ = total - sum(sizes[key] for key in listed) + sum(looked.values())
            objects = len(sizes) - len(listed) + sum(1 for size in looked.values() if size >= 0)
            reply = await self._ask(
                "recount_finish", self._workspace, self._recount, bytes_ + version_bytes,
                objects + version_objects, version_bytes, version_objects,
                json.dumps({f"{self._workspace}|k{key}": times for key, times in left_out.items()}),
                json.dumps({}), json.dumps(resolved),
            )  # fmt: skip
            if reply[0] == b"ok":
                return {"drift_bytes": int(reply[1]), "drift_objects": int(reply[2])}
            why = reply[1].decode()
            if reply[0] == b"no":
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        raise ApiError("SlowDown", f"The workspace changes too fast to be counted ({why}); try again.", 503)

    async def _ask(self, verb: str, *args: str | int) -> list[Any]:
        reply: list[Any] = await self._live.run(verb, await self._live.epoch(), *args)
        if reply[0] == b"no" and reply[1] == b"NotReady":
            raise NotReady("the live state is being rebuilt")
        return reply

    async def _listed(self) -> tuple[dict[str, int], tuple[int, int]]:
        """Sizes by key of what is current, and (bytes, count) of old versions."""
        sizes: dict[str, int] = {}
        if not self._versioned:
            listing = list_sizes(self._client, self._bucket, self._prefix)
            return {key: size async for key, size in listing}, (0, 0)
        old_bytes = old_count = 0
        async for key, size, latest, marker in list_versions(self._client, self._bucket, self._prefix):
            if latest and not marker:
                sizes[key] = size
            elif not marker:
                old_bytes, old_count = old_bytes + size, old_count + 1
        return sizes, (old_bytes, old_count)

    async def _busy(self) -> tuple[dict[str, str], dict[str, int], dict[str, list[int]]]:
        """What is left out (times changed by key), a look at those without a group, and settled doubts."""
        mark = f"{self._workspace}|k"
        dirty = await self._ask("recount_dirty", self._recount)
        left_out = {
            subject[len(mark) :]: times
            for subject, times in zip(_texts(dirty[1::2]), _texts(dirty[2::2]), strict=True)
            if subject.startswith(mark)
        }
        groups = await self._ask("doubts", self._workspace, 100_000)
        now = int(groups[1])
        looked: dict[str, int] = {}
        resolved: dict[str, list[int]] = {}
        grouped: set[str] = set()
        for raw, state in groups[2:]:
            subject = raw.decode("utf-8", "surrogateescape")
            if not subject.startswith(mark):
                continue
            key, group = subject[len(mark) :], json.loads(state)
            grouped.add(key)
            left_out.setdefault(key, "0")
            if group["n"] == 0 and now >= group["qt"]:
                size = await self._look(key)
                resolved[subject] = [max(size, 0), int(size >= 0)]
        for key in left_out.keys() - grouped:
            size = await self._look(key)
            if size >= 0:
                looked[key] = size
        return left_out, looked, resolved

    async def _look(self, key: str) -> int:
        """The size of what the key holds now, -1 for nothing."""
        full = (self._prefix + key).encode("utf-8", "surrogateescape")
        path = b"/" + encode_component(self._bucket.encode()) + encode_path(b"/" + full)
        return await self._client.size(path)


def _texts(raw: list[bytes]) -> list[str]:
    return [value.decode("utf-8", "surrogateescape") for value in raw]


async def list_sizes(client: NodeClient, bucket: str, prefix: str) -> AsyncIterator[tuple[str, int]]:
    """(key less the prefix, bytes) of every object under the prefix."""
    path = b"/" + encode_component(bucket.encode())
    token = ""
    while True:
        query = [("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)]
        if token:
            query.append(("continuation-token", token))
        page = (await client.ok("list", await client.request("GET", path, sorted(query)))).xml()
        for entry in children(page, "Contents"):
            yield _key(text_of(entry, "Key"), prefix), int(text_of(entry, "Size"))
        token = text_of(page, "NextContinuationToken")
        if text_of(page, "IsTruncated") != "true" or not token:
            return


async def list_versions(
    client: NodeClient, bucket: str, prefix: str
) -> AsyncIterator[tuple[str, int, bool, bool]]:
    """(key less the prefix, bytes, latest, delete marker) of every version under the prefix."""
    path = b"/" + encode_component(bucket.encode())
    key_marker = version_marker = ""
    while True:
        query = [("encoding-type", "url"), ("prefix", prefix), ("versions", "")]
        if key_marker:
            query += [("key-marker", key_marker), ("version-id-marker", version_marker)]
        page = (await client.ok("list versions", await client.request("GET", path, sorted(query)))).xml()
        for entry in children(page, "Version", "DeleteMarker"):
            marker = str(entry.tag).endswith("DeleteMarker")
            size = 0 if marker else int(text_of(entry, "Size"))
            yield _key(text_of(entry, "Key"), prefix), size, text_of(entry, "IsLatest") == "true", marker
        key_marker = plain_key(text_of(page, "NextKeyMarker"))
        version_marker = text_of(page, "NextVersionIdMarker")
        if text_of(page, "IsTruncated") != "true" or not key_marker:
            return


def _key(encoded: str, prefix: str) -> str:
    key = plain_key(encoded)
    if not key.startswith(prefix):
        raise NodeError("The node lists what was not asked for.")
    return key[len(prefix) :]
