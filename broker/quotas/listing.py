"""What a node holds under a workspace's prefix: listings page by page, and looks at single keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from broker.nodes.client import NodeClient, NodeError, children, plain_key, text_of
from sigv4 import encode_component, encode_path


class Entry(NamedTuple):
    """One object or version; `key` is less the prefix, `size` in bytes. Delete markers are none."""

    key: str
    size: int
    is_latest: bool


class Place:
    """A prefix in a node's bucket, as the books count it."""

    def __init__(self, client: NodeClient, bucket: str, prefix: str, *, versioned: bool) -> None:
        self._client = client
        self._bucket = b"/" + encode_component(bucket.encode())
        self._prefix = prefix
        self._versioned = versioned

    def entries(self) -> AsyncIterator[Entry]:
        """Everything that counts, in the order of keys. Raises NodeError."""
        return self._versions("") if self._versioned else self._objects("")

    async def look(self, key: str) -> tuple[int, int]:
        """(bytes, objects) of what one key holds now, all its versions included. Raises NodeError."""
        found = self._versions(key) if self._versioned else self._objects(key, most=1)
        size = count = 0
        async for entry in found:
            # The key itself comes before those that it begins.
            if entry.key != key:
                break
            size, count = size + entry.size, count + 1
        return size, count

    async def look_at_version(self, key: str, version: str) -> tuple[int, int]:
        """(bytes, objects) of one version; a delete marker, or one that is gone, holds nothing."""
        answer = await self._client.request("HEAD", self._path(key), [("versionId", version)])
        if answer.status in (400, 404, 405):
            return 0, 0
        return (await self._client.ok("look at a version", answer)).length, 1

    async def parts(self, key: str, upload: str) -> dict[str, int] | None:
        """Bytes by part number of a multipart upload (the node's id); None when the node has no such upload."""
        found: dict[str, int] = {}
        marker = ""
        while True:
            query = [("max-parts", "1000"), ("uploadId", upload)]
            if marker:
                query.append(("part-number-marker", marker))
            answer = await self._client.request("GET", self._path(key), sorted(query))
            if answer.status == 404:
                return None
            page = (await self._client.ok("list parts", answer)).xml()
            for part in children(page, "Part"):
                found[text_of(part, "PartNumber")] = int(text_of(part, "Size"))
            marker = text_of(page, "NextPartNumberMarker")
            if text_of(page, "IsTruncated") != "true" or not marker:
                return found

    def _path(self, key: str) -> bytes:
        full = (self._prefix + key).encode("utf-8", "surrogateescape")
        return self._bucket + encode_path(b"/" + full)

    async def _objects(self, under: str, most: int = 1000) -> AsyncIterator[Entry]:
        token = ""
        while True:
            query = [("encoding-type", "url"), ("list-type", "2"), ("prefix", self._prefix + under)]
            query.append(("max-keys", str(most)))
            if token:
                query.append(("continuation-token", token))
            answer = await self._client.request("GET", self._bucket, sorted(query))
            page = (await self._client.ok("list", answer)).xml()
            for entry in children(page, "Contents"):
                yield Entry(self._key(text_of(entry, "Key")), int(text_of(entry, "Size")), True)
            token = text_of(page, "NextContinuationToken")
            if text_of(page, "IsTruncated") != "true" or not token:
                return

    async def _versions(self, under: str) -> AsyncIterator[Entry]:
        key_marker = version_marker = ""
        while True:
            query = [("encoding-type", "url"), ("prefix", self._prefix + under), ("versions", "")]
            if key_marker:
                query += [("key-marker", key_marker), ("version-id-marker", version_marker)]
            answer = await self._client.request("GET", self._bucket, sorted(query))
            page = (await self._client.ok("list versions", answer)).xml()
            for entry in children(page, "Version"):
                key, size = self._key(text_of(entry, "Key")), int(text_of(entry, "Size"))
                yield Entry(key, size, text_of(entry, "IsLatest") == "true")
            key_marker = plain_key(text_of(page, "NextKeyMarker"))
            version_marker = text_of(page, "NextVersionIdMarker")
            if text_of(page, "IsTruncated") != "true" or not key_marker:
                return

    def _key(self, encoded: str) -> str:
        key = plain_key(encoded)
        if not key.startswith(self._prefix):
            raise NodeError("The node lists what was not asked for.")
        return key[len(self._prefix) :]
