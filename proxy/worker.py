"""One worker: everything that its requests share, brought up and down as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import structlog

from proxy.access_log import AccessLog
from proxy.audit import AuditTrail
from proxy.credentials import Credentials
from proxy.document_room import DocumentRoom
from proxy.event_listeners import Listeners
from proxy.events import Events
from proxy.metrics import Metrics
from proxy.nodes import Nodes
from proxy.s3.via import pseudonym
from proxy.settings import ProxySettings
from proxy.transfers import Transfer, TransferTable
from proxy.upstream import Limits, Timeouts, Upstream
from quota import LiveState, LiveStateError, Sealer
from quota.calls import CallClient
from quota.gate import Gate
from quota.lease import Lease
from quota.stopping import stop
from quota.uses import Uses
from quota.wire import Wire, WireError
from sigv4 import load_checksums

log = structlog.get_logger("proxy.worker")


class Worker:
    """The parts of a worker process; `start` begins, `aclose` ends all of them."""

    def __init__(self, settings: ProxySettings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.access_log = AccessLog(enabled=settings.access_log)
        self.sealer = Sealer(settings.secret.get_secret_value())
        self.transfers = TransferTable(self._on_cut)
        self.documents = DocumentRoom(settings.document_room_bytes)
        self.wire = Wire(
            settings.redis_url,
            timeout=settings.redis_timeout_seconds,
            client_name="wio-proxy",
            on_connect=self._on_redis,
        )
        self.gate = Gate(self.wire, settings.realm, settings.commit_seconds)
        self.events = Events(self.wire, settings.realm)
        self.listeners = Listeners(settings.realm)
        context = ssl.create_default_context(cafile=str(settings.node_ca)) if settings.node_ca else None
        # With 0 each write goes to the kernel at once: what was checked last still holds then (rule 13).
        limits = Limits(connections=settings.node_connections, write_high_bytes=0)
        self.upstream = Upstream(limits=limits, ssl_context=context)
        #: What this gate is called in `Via`.
        self.via = pseudonym(settings.secret.get_secret_value(), settings.realm)
        self.nodes = Nodes(
            self.gate, self.sealer, self.upstream, Timeouts(read=settings.node_read_seconds), self.via
        )
        self.credentials = Credentials(self.gate, self.sealer)
        self._run_id = ""
        self.live: LiveState = None  # type: ignore[assignment]
        self.lease: Lease = None  # type: ignore[assignment]
        self.calls: CallClient = None  # type: ignore[assignment]
        self.audit = AuditTrail(self.wire, settings.realm)
        self.uses = Uses()
        self._telling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect and take the lease, in the background where Redis is away; until then all is refused."""
        settings = self.settings
        load_checksums()
        self.access_log.start()
        self.live = await LiveState.connect(settings)
        self.calls = CallClient(self.live, self.sealer)
        self.lease = Lease(
            self.gate,
            self.live,
            self,
            seconds=settings.lease_seconds,
            info={"host": socket.gethostname(), "pid": os.getpid(), "port": settings.port},
        )
        try:
            await self.wire.connect()
        except WireError as error:
            log.warning("redis_unreachable", error=type(error).__name__)
        self.lease.start()
        self.audit.start()
        self._telling = asyncio.create_task(self.uses.run(self.live), name="uses")

    async def aclose(self) -> None:
        """Let go of everything: transfers are cut, the lease is given back."""
        self.transfers.cut_all()
        await self.listeners.aclose()
        await self.gate.aclose()
        await self.lease.aclose()
        await self.upstream.aclose()
        await self.audit.aclose()
        if self._telling is not None:
            await stop(self._telling)
            with contextlib.suppress(LiveStateError):
                await self.uses.tell(self.live)
        await self.wire.aclose()
        await self.live.aclose()
        await self.access_log.aclose()

    def _on_redis(self, run_id: str) -> None:
        if self._run_id and run_id != self._run_id and self.lease is not None:
            self.lease.void()
        self._run_id = run_id

    def _on_cut(self, transfer: Transfer) -> None:
        self.metrics.cut(transfer.operation)
        self.access_log.event(
            "transfer_cut",
            request_id=transfer.id,
            operation=transfer.operation,
            bucket=transfer.bucket,
            bytes=transfer.bytes,
        )

    # What the lease asks of its worker.

    def cut(self, number: int, names: Sequence[str]) -> int:
        """Apply one revocation: cut its transfers, and forget what it changed."""
        for name in names:
            if name.startswith("c:"):
                self.credentials.forget(name[2:])
            elif name.startswith("node:"):
                self.nodes.forget(name[5:])
        return self.transfers.cut(number, names)

    def cut_all(self, floor: int | None = None) -> int:
        """Cut every transfer; with `floor`, nothing that is remembered from before that revocation is trusted."""
        if floor is not None:
            self.credentials.forget_all()
            self.nodes.forget_all()
        return self.transfers.cut_all(floor)

    def describe(self) -> list[dict[str, Any]]:
        """Return what runs now."""
        return self.transfers.describe()
