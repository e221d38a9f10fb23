"""Storage nodes as the worker knows them, and requests to them: signed here, with their own credentials."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import sigv4
from proxy.guard import current_guard
from proxy.splicing import Rest
from proxy.upstream import Exchange, Origin, Timeouts, Upstream
from quota import Sealer, SealError
from quota.gate import Gate

#: Seconds that a node's definition is trusted when no revocation says otherwise.
_FRESH: Final = 300.0


class NodeUnknown(Exception):
    """A workspace names a node whose definition is not there, or cannot be read: a malfunction."""


@dataclass(frozen=True, slots=True)
class Node:
    """An S3 backend. `signer` adds the Host header that requests carry, and signs it with the rest."""

    id: str
    origin: Origin
    signer: sigv4.Signer
    checks_payload: bool = False


class Nodes:
    """The nodes in use, and the way to them."""

    def __init__(self, gate: Gate, sealer: Sealer, upstream: Upstream, timeouts: Timeouts, via: str) -> None:
        self._gate = gate
        self._sealer = sealer
        self._upstream = upstream
        self._timeouts = timeouts
        self._via = (b"via", b"1.1 " + via.encode("ascii"))
        self._known: dict[str, tuple[Node, float]] = {}
        self._forgotten = 0
        self._second = -1
        self._amz_date = ""

    async def find(self, node: str) -> Node:
        """Return a node's definition. Raises `NodeUnknown`, and `GateUnavailable` when Redis cannot be asked."""
        known = self._known.get(node)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        forgotten = self._forgotten
        record = await self._gate.record("NODES", node)
        if record is None:
            raise NodeUnknown(node)
        try:
            secret = self._sealer.open(record["secret"], b"node:" + node.encode()).decode()
        except SealError as error:
            raise NodeUnknown(node) from error
        parts = urlsplit(record["endpoint"])
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = record.get("addresses") or ()
        origin = Origin(parts.scheme, parts.hostname or "", port, addresses[0] if addresses else None)
        found = Node(
            node,
            origin,
            sigv4.Signer(
                parts.netloc.rpartition("@")[2].encode("ascii"),
                access_key_id=record["access_key_id"],
                secret=secret,
                region=record["region"],
            ),
            bool(record.get("checks_payload")),
        )
        if forgotten == self._forgotten:
            self._known[node] = (found, time.monotonic() + _FRESH)
        return found

    def forget(self, node: str) -> None:
        """Drop a definition that changed."""
        self._forgotten += 1
        self._known.pop(node, None)

    def forget_all(self) -> None:
        """Drop all definitions."""
        self._forgotten += 1
        self._known.clear()

    async def request(
        self,
        node: Node,
        method: bytes,
        path: bytes,
        query: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        payload_sha256: str = sigv4.EMPTY_SHA256,
        body: bytes | AsyncIterator[bytes | Rest] | None = None,
        read_seconds: float | None = None,
    ) -> Exchange:
        """Sign a request with the node's credentials and send it; return the exchange once its answer has begun.

        `path` and `query` are canonical (`proxy.s3.target`). Raises `UpstreamError`, whose `body_sent` says whether
        the node may have all of it.
        """
        now = int(time.time())
        if now != self._second:
            self._second, self._amz_date = now, sigv4.format_amz_date(now)
        signed = node.signer.sign(
            method, path, query, headers, amz_date=self._amz_date, payload_sha256=payload_sha256
        )
        # Not signed: whatever is between here and the node may add to it.
        signed.append(self._via)
        timeouts = self._timeouts
        if read_seconds is not None:
            timeouts = Timeouts(timeouts.connect, read_seconds, timeouts.write, timeouts.pool)
        target = path + b"?" + query if query else path
        guard = current_guard.get()
        return await self._upstream.exchange(
            node.origin,
            method,
            target,
            signed,
            body,
            timeouts,
            on_start=guard.before_exchange if guard is not None else None,
        )
