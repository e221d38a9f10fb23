"""The same way to the nodes for an `httpx.AsyncClient`: the hot path does without httpx's requests and responses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from proxy.splicing import Rest
from proxy.upstream.errors import LocalProtocolError
from proxy.upstream.exchange import Exchange
from proxy.upstream.origin import Origin, Timeouts
from proxy.upstream.transport import Upstream


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Sends by `upstream`, and closes it at the end. Errors are those of `proxy.upstream.errors`, which are httpx's.

    Extensions: `target` (bytes, verbatim), `timeout`, `address` (pinned); of the response `exchange`.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; see `Upstream.exchange`."""
        url, extensions = request.url, request.extensions
        port = url.port or (443 if url.scheme == "https" else 80)
        origin = Origin(url.scheme, url.raw_host.decode("ascii"), port, extensions.get("address"))
        body: bytes | AsyncIterator[bytes | Rest] | None
        if isinstance(request.stream, httpx.ByteStream):
            body = b"".join(request.stream)
        elif isinstance(request.stream, httpx.AsyncByteStream):
            body = aiter(request.stream)
        else:
            raise LocalProtocolError("the request's body must be bytes or an async iterator")
        seconds = {name: value for name, value in extensions.get("timeout", {}).items() if value is not None}
        exchange = await self._upstream.exchange(
            origin,
            request.method.encode("ascii"),
            extensions.get("target", url.raw_path),
            request.headers.raw,
            body,
            Timeouts(**seconds),
        )
        return httpx.Response(
            exchange.status,
            headers=exchange.headers,
            stream=_ResponseStream(exchange),
            extensions={"http_version": b"HTTP/1.1", "exchange": exchange},
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._upstream.aclose()


class _ResponseStream(httpx.AsyncByteStream):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._exchange:
            yield chunk

    async def aclose(self) -> None:
        await self._exchange.aclose()
