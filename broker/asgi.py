"""What surrounds every request, in pure ASGI: its id, a bounded body, one log line, the metrics."""

from __future__ import annotations

import asyncio
import json
import time

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.logs import new_request_id, request_id

#: A body must have arrived within so many seconds.
BODY_SECONDS = 30.0
_log = structlog.get_logger("broker.request")


class Metrics:
    """The broker's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "wio_broker_requests_total",
            "Requests by method and status.",
            ("method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "wio_broker_request_seconds", "How long requests took.", ("method",), registry=self.registry
        )


class RequestFrame:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, metrics: Metrics) -> None:
        self._app = app
        self._max = max_body_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or passes lifespan events on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = new_request_id()
        token = request_id.set(identity)
        started = time.perf_counter()
        status = 500
        begun = False

        async def send_framed(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                begun = True
                status = message["status"]
                extra = [
                    (b"x-amz-request-id", identity.encode()),
                    (b"x-request-id", identity.encode()),
                    (b"cache-control", b"no-store"),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        try:
            refusal, body = await self._read(scope, receive)
            if refusal is not None:
                await _refuse(send_framed, *refusal, identity)
            else:
                await self._app(scope, _replay(body, receive), send_framed)
        except Exception as error:
            _log.error("request.failed", error=type(error).__name__, exc_info=error)
            if begun:
                raise
            message = "Something went wrong here; the request id helps to find out what."
            await _refuse(send_framed, 500, "InternalError", message, identity)
        finally:
            spent = time.perf_counter() - started
            method = scope["method"] if scope["method"].isalpha() and len(scope["method"]) < 8 else "OTHER"
            self._metrics.requests.labels(method, str(status)).inc()
            self._metrics.seconds.labels(method).observe(spent)
            if not scope["path"].startswith("/-/"):
                # The path only: queries may hold what is nobody's business.
                _log.info(
                    "request", method=method, path=scope["path"][:256], status=status, seconds=round(spent, 4)
                )
            request_id.reset(token)

    async def _read(self, scope: Scope, receive: Receive) -> tuple[tuple[int, str, str] | None, bytes]:
        too_long = (413, "EntityTooLarge", f"A request's body may have at most {self._max} bytes.")
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value) > self._max):
                return too_long, b""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return (400, "IncompleteBody", "The body did not arrive."), b""
                    body += message.get("body", b"")
                    if len(body) > self._max:
                        return too_long, b""
                    if not message.get("more_body", False):
                        return None, bytes(body)
        except TimeoutError:
            return (408, "RequestTimeout", "The body did not arrive in time."), b""


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(send: Send, status: int, code: str, message: str, identity: str) -> None:
    body = json.dumps({"error": {"code": code, "message": message, "request_id": identity}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
