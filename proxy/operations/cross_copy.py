"""Copies between two nodes: neither can read the other, so the gate reads from one and writes to the other.

Under the same hold as any copy: the source is pinned by the ETag that was looked at (protocol, rule 9), its length is
the size that is held, and the last byte waits for the base of the destination (rule 15). Only a few pieces are in
memory at a time. What a copy takes along is as S3 documents it
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from lxml import etree

import sigv4
from proxy.bodies import telling_base
from proxy.call import Answer, Call, header
from proxy.events import tell
from proxy.mutation import Mutation
from proxy.nodes import Node
from proxy.operations.relaying import SMALL_DOCUMENT, document_headers, node_refusal, path_of
from proxy.s3 import xml_write
from proxy.s3.errors import S3Error, invalid_argument
from proxy.s3.payload import CHECKSUMS
from proxy.s3.rewrite import plain_error
from proxy.s3.target import encode_query
from proxy.s3.xml_read import NotXML, child, children, parse_xml, text_of
from proxy.upstream import Exchange, RemoteProtocolError, UpstreamError

if TYPE_CHECKING:
    from proxy.operations.copying import Pinned

_SOURCE: Final = b"x-amz-copy-source-"
#: What belongs to the object and is taken along, unless the client replaces it.
_METADATA: Final = frozenset(
    {
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-type",
        b"expires",
    }
)
#: Of the copy's request, what says how to store; the rest speaks of source and directives.
_DIRECTIVES: Final = frozenset(
    {
        b"x-amz-checksum-algorithm",
        b"x-amz-copy-source-range",
        b"x-amz-metadata-directive",
        b"x-amz-tagging",
        b"x-amz-tagging-directive",
    }
)
_CHECKSUM: Final = b"x-amz-checksum-"


async def copy_across(
    call: Call, mutation: Mutation, pinned: Pinned, query: bytes, size: int, objects: int
) -> Answer | S3Error:
    """Stream the pinned source, or a range of it, to the destination's node; `size` in bytes is what is held.

    Raises what the nodes raise (`UpstreamError`); a source that ends too soon aborts the write, so that nothing is
    stored.
    """
    for name in ("metadata", "tagging"):
        directive = _asked(call, f"x-amz-{name}-directive".encode())
        if directive not in (None, "COPY", "REPLACE"):
            return invalid_argument(f"x-amz-{name}-directive", directive or "", f"Unknown {name} directive.")
    source = await _open_source(call, pinned, size)
    if isinstance(source, S3Error):
        return source
    try:
        is_part = objects == 0
        headers = (
            [pair for pair in call.plan.headers if _is_storage(pair[0])]
            if is_part
            else await _headers(call, pinned, source)
        )
        algorithm = await _part_algorithm(call, query) if is_part else _algorithm(call, source)
        exchange = await _write(call, mutation, source, query, headers, size, algorithm)
    finally:
        await source.aclose()
    if exchange.status >= 300:
        await (mutation.doubt() if exchange.status >= 500 else mutation.none())
        return await node_refusal(call, exchange)
    await exchange.aclose()
    await mutation.done(size, objects)
    etag = (header(exchange.headers, b"etag") or b"").decode("latin-1")
    if objects:
        tell(call, "ObjectCreated:Copy", size=size, headers=exchange.headers)
    checksums = [
        (f"Checksum{name[len(_CHECKSUM) :].decode('ascii').upper()}", value.decode("latin-1"))
        for name, value in exchange.headers
        if name.startswith(_CHECKSUM) and name[len(_CHECKSUM) :].decode("latin-1") in CHECKSUMS
    ]
    document = xml_write.copy_object(etag, xml_write.timestamp(time.time()), checksums, part=is_part)
    more: tuple[tuple[bytes, bytes], ...] = ()
    if pinned.version_id:
        more = ((b"x-amz-copy-source-version-id", pinned.version_id.encode("ascii")),)
    kept = [pair for pair in exchange.headers if not pair[0].startswith(_CHECKSUM)]
    return Answer(200, (*document_headers(kept), *more), document)


async def _open_source(call: Call, pinned: Pinned, size: int) -> Exchange | S3Error:
    plan, worker, route = call.plan, call.worker, call.admitted.source
    assert plan.source is not None
    assert route is not None
    node = await worker.nodes.find(route.node)
    headers = [
        (b"x-amz-" + name[len(_SOURCE) :], value)
        for name, value in plan.headers
        if name.startswith(_SOURCE + b"server-side-encryption")
    ]
    headers += [(b"if-match", pinned.etag), (b"x-amz-checksum-mode", b"ENABLED")]
    if plan.source_range is not None:
        headers.append((b"range", b"bytes=%d-%d" % plan.source_range))
    exchange = await worker.nodes.request(
        node, b"GET", path_of(route, plan.source.key), _version_query(pinned), headers
    )
    if exchange.status >= 300:
        await exchange.aclose()
        return plain_error(exchange.status, exchange.headers, key=plan.source.key)
    length = header(exchange.headers, b"content-length")
    if length is None or int(length) != size:
        exchange.abort()
        raise RemoteProtocolError("the copy's source is not as long as it was")
    return exchange


def _version_query(pinned: Pinned) -> bytes:
    return encode_query([("versionId", pinned.version_id)]) if pinned.version_id else b""


async def _headers(call: Call, pinned: Pinned, source: Exchange) -> list[tuple[bytes, bytes]]:
    """Return the headers of the new object: the source's or the request's, as the two directives say."""
    replaces = _asked(call, b"x-amz-metadata-directive") == "REPLACE"
    headers = [
        pair for pair in call.plan.headers if _is_storage(pair[0]) and (replaces or not _is_metadata(pair[0]))
    ]
    if not replaces:
        headers += [pair for pair in source.headers if _is_metadata(pair[0])]
    if _asked(call, b"x-amz-tagging-directive") == "REPLACE":
        headers += [pair for pair in call.plan.headers if pair[0] == b"x-amz-tagging"]
    elif int(header(source.headers, b"x-amz-tagging-count") or b"0"):
        headers.append((b"x-amz-tagging", await _tags(call, pinned)))
    return headers


def _is_metadata(name: bytes) -> bool:
    # A source's node may hold what no client may write: to MinIO this one is an order to unpack (CVE-2026-40344).
    if name == b"x-amz-meta-snowball-auto-extract":
        return False
    return name in _METADATA or name.startswith(b"x-amz-meta-")


def _is_storage(name: bytes) -> bool:
    return name not in _DIRECTIVES and not name.startswith(_SOURCE)


def _asked(call: Call, name: bytes) -> str | None:
    value = header(call.plan.headers, name)
    return None if value is None else value.decode("latin-1").strip()


async def _tags(call: Call, pinned: Pinned) -> bytes:
    plan, worker, route = call.plan, call.worker, call.admitted.source
    assert plan.source is not None
    assert route is not None
    node = await worker.nodes.find(route.node)
    query = [("tagging", "")] + ([("versionId", pinned.version_id)] if pinned.version_id else [])
    exchange = await worker.nodes.request(node, b"GET", path_of(route, plan.source.key), encode_query(query))
    root = await _document(exchange, "the tags of the copy's source")
    tags = [
        (text_of(child(tag, "Key")), text_of(child(tag, "Value")))
        for tag_set in children(root, "TagSet")
        for tag in children(tag_set, "Tag")
    ]
    return urlencode(tags).encode("ascii")


async def _part_algorithm(call: Call, query: bytes) -> str | None:
    """Return the checksum that the upload was begun with, which its parts must then have."""
    worker, route = call.worker, call.admitted.route
    node = await worker.nodes.find(route.node)
    kept = b"&".join(piece for piece in query.split(b"&") if piece.startswith(b"uploadId="))
    exchange = await worker.nodes.request(node, b"GET", path_of(route, call.plan.key), b"max-parts=1&" + kept)
    root = await _document(exchange, "the upload's parts")
    name = text_of(child(root, "ChecksumAlgorithm")).lower()
    return name if name in sigv4.CHECKSUM_ALGORITHMS else None


async def _document(exchange: Exchange, what: str) -> etree._Element:
    body = await exchange.read(SMALL_DOCUMENT)
    await exchange.aclose()
    try:
        if exchange.status == 200:
            return parse_xml(body, max_bytes=SMALL_DOCUMENT, max_elements=1000)
    except NotXML:
        pass
    raise RemoteProtocolError(f"the node did not tell {what}")


def _algorithm(call: Call, source: Exchange) -> str | None:
    """Return the checksum that the client asks for, else the one that the source has."""
    asked = (_asked(call, b"x-amz-checksum-algorithm") or "").lower()
    if asked in sigv4.CHECKSUM_ALGORITHMS:
        return asked
    for name, _ in source.headers:
        found = name[len(_CHECKSUM) :].decode("latin-1")
        if name.startswith(_CHECKSUM) and found in sigv4.CHECKSUM_ALGORITHMS:
            return found
    return None


async def _write(
    call: Call,
    mutation: Mutation,
    source: Exchange,
    query: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    size: int,
    algorithm: str | None,
) -> Exchange:
    node: Node = await call.worker.nodes.find(call.admitted.route.node)
    kind, about, framer = sigv4.UNSIGNED_PAYLOAD, [(b"content-length", b"%d" % size)], None
    if algorithm is not None and size:
        trailer = f"{sigv4.CHECKSUM_PREFIX}{algorithm}"
        framer = sigv4.UnsignedChunkFramer(size, [trailer])
        kind = sigv4.PayloadKind.STREAMING_UNSIGNED_TRAILER.value
        coding = header(headers, b"content-encoding")
        headers = [pair for pair in headers if pair[0] != b"content-encoding"]
        about = [
            (b"content-encoding", b"aws-chunked" if coding is None else b"aws-chunked," + coding),
            (b"content-length", b"%d" % framer.content_length),
            (b"x-amz-decoded-content-length", b"%d" % size),
            (b"x-amz-trailer", trailer.encode()),
        ]
    body = _pieces(call, mutation, source, size, framer, algorithm or "")
    mutation.start_reading()
    try:
        return await call.worker.nodes.request(
            node,
            b"PUT",
            path_of(call.admitted.route, call.plan.key, call.plan.raw_key),
            query,
            [*headers, *about],
            payload_sha256=kind,
            body=telling_base(mutation, body),
        )
    except UpstreamError:
        if not call.was_sent():
            mutation.not_sent()
        raise


async def _pieces(
    call: Call,
    mutation: Mutation,
    source: Exchange,
    size: int,
    framer: sigv4.UnsignedChunkFramer | None,
    algorithm: str,
) -> AsyncIterator[bytes]:
    checksum = sigv4.Checksum(algorithm) if framer is not None else None
    transfer, left = call.transfer, size
    async for piece in source:
        call.check()
        left -= len(piece)
        if left < 0:
            raise RemoteProtocolError("the copy's source is longer than it said")
        if transfer is not None:
            transfer.bytes += len(piece)
        if framer is None or checksum is None:
            if not left:
                await mutation.may_release()
                call.check()
            yield piece
            continue
        checksum.update(piece)
        framed: list[bytes | bytearray | memoryview] = [*framer.frame(piece)]
        if not left:
            await mutation.may_release()
            call.check()
            framed.append(framer.end({f"{sigv4.CHECKSUM_PREFIX}{algorithm}": checksum.base64()}))
        yield b"".join(framed)
    if left:
        raise RemoteProtocolError("the copy's source ended too soon")
    if not size:
        await mutation.may_release()
