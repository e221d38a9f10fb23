"""Steps 5 and 6 in their common forms: ask the node, relay what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.call import Answer, Call, header
from proxy.mutation import Base
from proxy.s3.errors import S3Error
from proxy.s3.headers import relay_headers
from proxy.s3.listing import Kind, Listing
from proxy.s3.rewrite import Names, node_error
from proxy.s3.target import bucket_of_host, encode_query, node_path
from proxy.s3.url_names import url_decode
from proxy.s3.via import LOOP
from proxy.s3.xml_read import child, children, parse_xml, text_of
from proxy.splicing import LEAST_BYTES
from proxy.upstream import Exchange, RemoteProtocolError
from quota import Route

#: An error document, or the answer of a small operation, in bytes.
SMALL_DOCUMENT = 256 * 1024


class LeadsBack(RemoteProtocolError):
    """The node is the gate itself, or a gate whose node is this one."""


def path_of(route: Route, key: str, raw_key: bytes | None = None) -> bytes:
    """Return the node's path of a key."""
    return node_path(route.bucket, route.prefix, key, raw_key)


def names_of(call: Call) -> Names:
    """Return how to turn the node's names into the client's."""
    route = call.admitted.route
    return Names(route.bucket, route.prefix, call.plan.bucket or "")


def base_url(call: Call) -> str:
    """Return the URL of the gate as this client wrote it, without a bucket of virtual-host style."""
    host = next((value for name, value in call.headers if name == b"host"), b"").decode("latin-1")
    if bucket_of_host(host, call.worker.settings.domains) is not None:
        host = host[len(call.plan.bucket or "") + 1 :]
    return f"{call.scope['scheme']}://{host}"


async def node_refusal(call: Call, exchange: Exchange) -> S3Error:
    """Read a node's error answer; return it with the virtual names and nothing of the node in it."""
    body = b"" if exchange.method == b"HEAD" else await exchange.read(SMALL_DOCUMENT)
    await exchange.aclose()
    plan, route = call.plan, call.admitted.route
    return node_error(
        exchange.status,
        body,
        bucket=plan.bucket or "",
        key=plan.key,
        node_bucket=route.bucket,
        prefix=route.prefix,
        headers=exchange.headers,
    )


async def relay(call: Call, exchange: Exchange) -> None:
    """Stream a node's answer to the client as it comes. A body that is cut aborts the client's connection."""
    headers = relay_headers(exchange.headers)
    transfer, write = call.transfer, call.connection.write
    assert transfer is not None

    def moved(size: int) -> None:
        call.bytes_out = transfer.bytes = transfer.bytes + size

    try:
        length = header(headers, b"content-length")
        left = int(length) if length is not None and call.method != "HEAD" else -1
        call.begin(exchange.status, headers)
        async for chunk in exchange:
            # Whether this request may still move is asked by the connection, before it writes.
            size = len(chunk)
            moved(size)
            left -= size
            await write(chunk, is_last=left == 0)
            if not left:
                return
            if left >= LEAST_BYTES and await _relay_in_kernel(call, exchange, moved):
                return
        await write(b"", is_last=True)
    finally:
        exchange.abort()


async def _relay_in_kernel(call: Call, exchange: Exchange, moved: Callable[[int], None]) -> bool:
    """Stream the rest of a body past this process, if sockets, sizes and what is buffered allow it now."""
    lent = exchange.lend_body(LEAST_BYTES)
    if lent is None:
        return False
    reading, size = lent
    if await call.connection.splice(exchange, reading, size, moved):
        return True
    exchange.take_back()
    return False


async def relay_small(call: Call, exchange: Exchange) -> Answer | S3Error:
    """Take a node's whole answer, which is small and names nothing, for the client."""
    if exchange.status >= 400:
        return await node_refusal(call, exchange)
    body = await exchange.read(SMALL_DOCUMENT)
    await exchange.aclose()
    headers = [pair for pair in relay_headers(exchange.headers) if pair[0] != b"content-length"]
    return Answer(exchange.status, tuple(headers), body)


async def look(call: Call, route: Route, key: str, version: str | None = None) -> Base:
    """Return what a key (or one version of it) holds at the node now.

    Raises `RemoteProtocolError` when the node does not tell, `LeadsBack` when it never can: then nothing may be
    released.
    """
    worker = call.worker
    node = await worker.nodes.find(route.node)
    query = encode_query([("versionId", version)]) if version else b""
    exchange = await worker.nodes.request(node, b"HEAD", path_of(route, key), query)
    await exchange.aclose()
    if exchange.status == 200:
        length = header(exchange.headers, b"content-length")
        if length is None:
            raise RemoteProtocolError("the node told no length")
        return Base(int(length), 1)
    if exchange.status == 404:
        return Base(0, 0)
    if exchange.status == 405 or version:
        # A delete marker, or a version that is not there: neither holds a byte.
        return Base(0, 0)
    if header(exchange.headers, b"x-minio-error-code") == b"XMinioInvalidObjectName":
        # A name that the node refuses (`//` to MinIO) holds nothing; the node will say so itself.
        return Base(0, 0)
    # An object under a customer's key answers HEAD only with the key; a listing tells its size all the same.
    return await _look_by_listing(call, route, key)


async def _look_by_listing(call: Call, route: Route, key: str) -> Base:
    worker = call.worker
    node = await worker.nodes.find(route.node)
    listing = Listing(Kind.V2, "", prefix=key, max_keys=1)
    query = listing.node_query(route.prefix, lambda _token: None)
    if isinstance(query, S3Error):
        raise RemoteProtocolError("a key that cannot be listed")
    exchange = await worker.nodes.request(node, b"GET", b"/" + route.bucket.encode("ascii"), query)
    if exchange.status != 200:
        if (await node_refusal(call, exchange)).message == LOOP.message:
            raise LeadsBack("the node leads back to this gate")
        raise RemoteProtocolError(f"the node answered a look with {exchange.status}")
    body = await exchange.read(SMALL_DOCUMENT)
    await exchange.aclose()
    root = parse_xml(body, max_bytes=SMALL_DOCUMENT, max_elements=1000)
    for item in children(root, "Contents"):
        if url_decode(text_of(child(item, "Key"))) == route.prefix + key:
            return Base(int(text_of(child(item, "Size"))), 1)
    return Base(0, 0)


def document_headers(headers: Sequence[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Return a node's headers for an answer whose document the gate writes itself."""
    kept = [pair for pair in relay_headers(headers) if pair[0] not in (b"content-length", b"content-type")]
    return ((b"content-type", b"application/xml"), *kept)
