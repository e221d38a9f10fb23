"""One request on its way through the proxy: what is known of it, and how it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from random import getrandbits
from typing import TYPE_CHECKING, Any, Final

from proxy.s3.errors import S3Error, render

if TYPE_CHECKING:
    from proxy.forms import Form
    from proxy.mutation import Mutation
    from proxy.s3.plan import Plan
    from proxy.server import Connection
    from proxy.transfers import Transfer
    from proxy.upstream import Exchange
    from proxy.worker import Worker
    from quota import Admitted
    from sigv4 import Presented, VerifiedContext

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
Dress = Callable[[int, Headers], Headers]

#: What only looks: its exchange never makes a change that may be in doubt.
_SAFE_METHODS: Final = frozenset({b"GET", b"HEAD"})


class ClientGone(Exception):
    """The client went away, or was cut: nobody is left to answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer that the gate makes itself. `headers` lower-case; content-length and request id are added."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


XML: Final = ((b"content-type", b"application/xml"),)


class Call:
    """A request, and the facts that the steps add to it, in the order of the steps.

    `status` is 0 until an answer begins; `bytes_in` and `bytes_out` count payload.
    """

    __slots__ = (
        "access_key_id",
        "admitted",
        "bytes_in",
        "bytes_out",
        "code",
        "connection",
        "context",
        "document_bytes",
        "dress",
        "exchange",
        "form",
        "headers",
        "is_body_raw",
        "method",
        "mutation",
        "operation",
        "plan",
        "presented",
        "reading",
        "receive",
        "request_id",
        "scope",
        "started",
        "status",
        "task",
        "trailers",
        "transfer",
        "worker",
    )

    # Set by the steps in turn, and not there before: `is_planned` and `is_admitted` tell. No None in their place,
    # which compiled code would take for one of them.
    plan: Plan
    presented: Presented
    context: VerifiedContext
    admitted: Admitted

    def __init__(self, worker: Worker, scope: Scope, receive: Receive) -> None:
        self.worker = worker
        self.scope = scope
        self.receive = receive
        #: Whether `receive` gives the client's bytes as they came, so that they may be read past it.
        self.is_body_raw = True
        self.connection: Connection = scope["extensions"]["wio"]
        self.method: str = scope["method"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        # Not a secret: it only has to be another one for each request.
        self.request_id = b"%016X" % getrandbits(64)
        self.started = time.perf_counter()
        self.operation = "-"
        self.access_key_id = "-"
        self.code = ""
        #: What changes the head of the answer, for somebody who is no client of S3.
        self.dress: Dress | None = None
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        #: A form, which is authenticated by its fields in place of `presented`.
        self.form: Form | None = None
        self.transfer: Transfer | None = None
        self.mutation: Mutation | None = None
        self.task: asyncio.Task[Any] | None = None
        #: The last exchange with a node that changes something, and the last one that does not.
        self.exchange: Exchange | None = None
        self.reading: Exchange | None = None
        self.trailers: dict[str, str] = {}
        #: What this request has of the worker's room for documents.
        self.document_bytes = 0

    @property
    def is_planned(self) -> bool:
        """Whether the request has come as far as a plan."""
        return hasattr(self, "plan")

    @property
    def is_admitted(self) -> bool:
        """Whether the live state has admitted it."""
        return hasattr(self, "admitted")

    def came(self, size: int) -> None:
        """So many bytes of the body have come from the client."""
        self.bytes_in += size
        if self.transfer is not None:
            self.transfer.bytes = self.bytes_in

    def may_move(self) -> bool:
        """Whether this request may hand another byte to a socket: it was not cut, and the lease holds (rule 13)."""
        transfer = self.transfer
        return (transfer is None or transfer.cut_by is None) and self.worker.lease.is_valid()

    def check(self) -> None:
        """Raise `ClientGone` when this request may not move another byte."""
        if not self.may_move():
            self.connection.abort()
            raise ClientGone

    def before_exchange(self, exchange: Exchange) -> None:
        """Take note of what goes to a node for this request, if it still may. Raises `ClientGone`."""
        self.check()
        if exchange.method in _SAFE_METHODS:
            self.reading = exchange
        else:
            self.exchange = exchange

    def was_sent(self) -> bool:
        """Whether the node may have all of the change: its final byte was handed to the socket (rule 7)."""
        return self.exchange is not None and self.exchange.body_sent

    def give_back(self) -> None:
        """Give back the room of a document that was read whole."""
        size, self.document_bytes = self.document_bytes, 0
        if size:
            self.worker.documents.give_back(size)

    def let_go(self) -> None:
        """Cut what is left of its exchanges, which a cancellation leaves open."""
        for exchange in (self.reading, self.exchange):
            if exchange is not None and not exchange.is_complete:
                exchange.abort()

    def drop(self) -> None:
        """Let go of what leads back here, so that nothing of a request is left to the garbage collector."""
        self.transfer = self.mutation = None

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin an answer; the request id is added to `headers`. They leave with the first piece of its body."""
        self.status = status
        headers.append((b"x-amz-request-id", self.request_id))
        if self.is_admitted and self.admitted.warning:
            headers.append((b"x-wio-quota-warning", self.admitted.warning.encode()))
        self.connection.begin(status, headers if self.dress is None else self.dress(status, headers))

    async def answer(self, answer: Answer) -> None:
        """Send a whole answer."""
        body = answer.body
        headers = [*answer.headers]
        if answer.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        self.begin(answer.status, headers)
        if self.method == "HEAD":
            body = b""
        self.bytes_out += len(body)
        await self.connection.write(body, is_last=True)

    async def refuse(self, failure: S3Error) -> None:
        """Answer with an error. A body that was not read is read and dropped a while, so that the answer is seen."""
        self.code = failure.code
        plan = self.plan if self.is_planned else None
        body = render(
            failure,
            resource=self.scope["raw_path"].decode("utf-8", "replace"),
            request_id=self.request_id.decode(),
            host_id=self.request_id.decode(),
            bucket=plan.bucket if plan else None,
            key=plan.key if plan else None,
            head=self.method == "HEAD",
        )
        await self.answer(Answer(failure.status, (*XML, *failure.headers), body))

    def stop(self) -> None:
        """End this request at once, whatever it waits for: it was cut, or its client is gone.

        A change that the node has wholly received is awaited for up to a lease, so that it can be told how it
        ended (protocol, rule 14); nothing more of it reaches the client either way.
        """
        self.connection.abort()
        task = self.task
        if task is None or task.done():
            return
        if self.was_sent():
            asyncio.get_running_loop().call_later(self.worker.settings.lease_seconds, task.cancel)
        else:
            task.cancel()


def header(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the first value of a header of a node's answer."""
    for known, value in headers:
        if known == name:
            return value
    return None
