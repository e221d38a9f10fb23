"""PutObject and UploadPart: a body that streams to the node, under a hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import sigv4
from proxy import bodies, whole_bodies
from proxy.admission import admit_change
from proxy.call import Answer, Call
from proxy.events import tell
from proxy.mutation import Base, Mutation
from proxy.nodes import Node
from proxy.operations.relaying import look, node_refusal, path_of, relay_small
from proxy.operations.upload_names import abandon, belongs, look_at_part, open_upload
from proxy.s3.errors import S3Error
from proxy.s3.target import physical_problem
from proxy.splicing import Rest
from proxy.upstream import Exchange, UpstreamError
from quota import Route


async def put_object(call: Call) -> Answer | S3Error:
    """PutObject."""
    plan = call.plan
    route: Route | None = None

    async def look_now() -> Base:
        assert route is not None
        return await look(call, route, plan.key)

    mutation = await admit_change(call, "put", look_now, size=plan.adds_bytes, objects=1)
    if isinstance(mutation, S3Error):
        return mutation
    with mutation:
        route = call.admitted.route
        problem = physical_problem(route.prefix, plan.key)
        if problem is not None:
            return problem
        exchange = await store(call, mutation, path_of(route, plan.key, plan.raw_key), plan.node_query())
        if exchange.status < 300:
            # First, so that it leaves in one packet with the settlement.
            tell(call, "ObjectCreated:Put", size=plan.adds_bytes, headers=exchange.headers)
        return await settled(call, mutation, exchange, plan.adds_bytes, 1)


async def upload_part(call: Call) -> Answer | S3Error:
    """UploadPart."""
    plan = call.plan
    upload = open_upload(call)
    if isinstance(upload, S3Error):
        return upload
    mutation = await admit_change(
        call,
        "part",
        partial(look_at_part, call, upload, plan.part_number or 0),
        size=plan.adds_bytes,
        objects=0,
        upload=upload,
        part=plan.part_number or 0,
    )
    if isinstance(mutation, S3Error):
        return mutation
    with mutation:
        refusal = belongs(call, upload)
        if refusal is not None:
            return refusal
        route = call.admitted.route
        path = path_of(route, plan.key, plan.raw_key)
        answer = await store(call, mutation, path, plan.node_query(upload.node_upload_id))
        stored = await settled(call, mutation, answer, plan.adds_bytes, 0)
        if mutation.is_orphan:
            # The upload was ended while its part was on its way: a node may keep such a part, so it is told once more.
            await abandon(call, path, upload.node_upload_id)
        return stored


async def settled(
    call: Call, mutation: Mutation, exchange: Exchange, size: int, objects: int
) -> Answer | S3Error:
    """Step 7 by the status alone: settle, then pass the node's small answer on."""
    status = exchange.status
    if status < 300:
        await mutation.done(size, objects)
    elif status < 500 or not mutation.released:
        await mutation.none()
    else:
        await mutation.doubt()
    if status >= 300:
        return await node_refusal(call, exchange)
    return await relay_small(call, exchange)


async def store(call: Call, mutation: Mutation, path: bytes, query: bytes) -> Exchange:
    """Step 5 of an upload: send the body to the node, its last byte only when everything has held.

    Raises what the body raises (`SigV4Error`, `ClientGone`, `Denied`), with nothing stored; and `UpstreamError`.
    """
    plan, worker = call.plan, call.worker
    await mutation.ensure_room()
    node = await worker.nodes.find(call.admitted.route.node)
    length = plan.decoded_length or 0
    if length <= whole_bodies.SMALL:
        # Most of these bodies are here already: there is nothing to read the base beside.
        return await _store_small(call, mutation, node, path, query)
    mutation.start_reading()
    headers, payload, body = _streamed(call, mutation, node, length)
    try:
        return await worker.nodes.request(
            node,
            b"PUT",
            path,
            query,
            headers,
            payload_sha256=payload,
            body=bodies.telling_base(mutation, body),
        )
    except UpstreamError as failure:
        if not failure.body_sent:
            mutation.not_sent()
        raise


async def _store_small(call: Call, mutation: Mutation, node: Node, path: bytes, query: bytes) -> Exchange:
    presented = call.presented
    body = await whole_bodies.whole(
        call, whole_bodies.SMALL + 64 * 1024, is_hashed_here=not node.checks_payload
    )
    if len(body) != (call.plan.decoded_length or 0):
        raise sigv4.IncompleteBody
    headers = [*call.plan.headers]
    payload = presented.payload_sha256 or sigv4.UNSIGNED_PAYLOAD
    headers += [(name.encode(), value.encode()) for name, value in call.trailers.items()]
    await mutation.may_release()
    call.check()
    try:
        return await call.worker.nodes.request(
            node, b"PUT", path, query, headers, payload_sha256=payload, body=body
        )
    except UpstreamError as failure:
        if not failure.body_sent:
            mutation.not_sent()
        raise


def _streamed(
    call: Call, mutation: Mutation, node: Node, length: int
) -> tuple[list[tuple[bytes, bytes]], str, AsyncIterator[bytes | Rest]]:
    presented = call.presented
    headers = [*call.plan.headers]
    decoder = whole_bodies.decoder_of(call, length)
    if decoder is None:
        headers.append((b"content-length", b"%d" % length))
        hasher = None
        if presented.payload_sha256 is not None and not node.checks_payload:
            hasher = sigv4.PayloadHasher(presented.payload_sha256)
        payload = presented.payload_sha256 or sigv4.UNSIGNED_PAYLOAD
        return headers, payload, bodies.plain(call, length, mutation.may_release, hasher)
    if not presented.trailers:
        headers.append((b"content-length", b"%d" % length))
        return headers, sigv4.UNSIGNED_PAYLOAD, bodies.decoded(call, decoder, mutation.may_release, None)
    framer = sigv4.UnsignedChunkFramer(length, presented.trailers)
    coding = next((value for name, value in headers if name == b"content-encoding"), None)
    headers = [pair for pair in headers if pair[0] != b"content-encoding"]
    headers += [
        (b"content-encoding", b"aws-chunked" if coding is None else b"aws-chunked," + coding),
        (b"content-length", b"%d" % framer.content_length),
        (b"x-amz-decoded-content-length", b"%d" % length),
        (b"x-amz-trailer", ",".join(presented.trailers).encode()),
    ]
    kind = sigv4.PayloadKind.STREAMING_UNSIGNED_TRAILER.value
    return headers, kind, bodies.decoded(call, decoder, mutation.may_release, framer)
