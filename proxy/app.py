"""The proxy as an ASGI application: S3, and beside it health, metrics and the few paths of MinIO that clients need."""

from __future__ import annotations

from typing import Final

import structlog

from proxy.call import Receive, Scope, Send
from proxy.handler import Handler
from proxy.links.handler import LinkHandler
from proxy.links.link import PREFIX
from proxy.s3.target import bucket_of_host
from proxy.settings import ProxySettings
from proxy.sts import serve_sts
from proxy.worker import Worker

log = structlog.get_logger("proxy.app")

_PLAIN: Final = ((b"content-type", b"text/plain; charset=utf-8"),)


class ProxyApp:
    """One worker's application. Pure ASGI: a request of S3 passes through nothing but the handler."""

    def __init__(self, settings: ProxySettings) -> None:
        self._worker = Worker(settings)
        self._handler = Handler(self._worker)
        self._links = LinkHandler(self._worker)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: bytes = scope["raw_path"]
            if path.startswith(PREFIX):
                await self._links(scope, receive)
            elif path.startswith(b"/-/"):
                await self._own(path, send)
            elif path.startswith(b"/minio/health/"):
                await self._health(path, send)
            elif path == b"/" and scope["method"] == "POST" and not self._names_bucket(scope):
                await serve_sts(self._worker, scope, receive)
            else:
                await self._handler(scope, receive)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    def _names_bucket(self, scope: Scope) -> bool:
        # In virtual-host style the root is a bucket, which takes POSTs of its own: DeleteObjects and forms.
        domains = self._worker.settings.domains
        host = next((value for name, value in scope["headers"] if name == b"host"), b"") if domains else b""
        return bucket_of_host(host.decode("latin-1"), domains) is not None

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                failure: str | None = None
                try:
                    await self._worker.start()
                except Exception as error:
                    log.exception("startup_failed")
                    failure = str(error)
                if failure is not None:
                    await send({"type": "lifespan.startup.failed", "message": failure})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._worker.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _own(self, path: bytes, send: Send) -> None:
        worker = self._worker
        if path == b"/-/live":
            await _reply(send, 200, b"live\n")
        elif path == b"/-/ready":
            ready = worker.lease.is_held
            await _reply(
                send, 200 if ready else 503, b"ready\n" if ready else b"not ready: no lease from Redis\n"
            )
        elif path == b"/-/metrics":
            worker.metrics.transfers.set(len(worker.transfers))
            worker.metrics.lease.set(worker.lease.is_held)
            await _reply(
                send,
                200,
                worker.metrics.render(),
                ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),),
            )
        else:
            await _reply(send, 404, b"There is nothing here.\n")

    async def _health(self, path: bytes, send: Send) -> None:
        # `mc ready` loops until /minio/health/cluster answers; the rest is what MinIO has.
        kind = path[len(b"/minio/health/") :]
        if kind not in (b"live", b"ready", b"cluster", b"cluster/read"):
            await _reply(send, 404, b"")
        elif kind == b"live" or self._worker.lease.is_held:
            await _reply(send, 200, b"")
        else:
            await _reply(send, 503, b"")


async def _reply(
    send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = _PLAIN
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body})


def create_app(settings: ProxySettings | None = None) -> ProxyApp:
    """Return the application of one worker, with `settings`, or with those of the environment."""
    return ProxyApp(settings or ProxySettings())
