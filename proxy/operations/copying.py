"""CopyObject and UploadPartCopy: both workspaces authorised in one admit, the source pinned (protocol, rule 9)."""

from __future__ import annotations

from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import partial
from typing import NamedTuple

from proxy.admission import admit_change
from proxy.call import Answer, Call, header
from proxy.events import tell
from proxy.mutation import Base, Mutation
from proxy.operations.cross_copy import copy_across
from proxy.operations.relaying import document_headers, look, names_of, path_of
from proxy.operations.upload_names import abandon, belongs, look_at_part, open_upload
from proxy.s3 import xml_write
from proxy.s3.copy_source import HEADER, node_source
from proxy.s3.errors import Code, S3Error, error
from proxy.s3.rewrite import MAX_RESULT_BYTES, plain_error, read_copied
from proxy.s3.target import encode_query, physical_problem
from proxy.upstream import RemoteProtocolError, UpstreamError
from quota import Route


class Pinned(NamedTuple):
    """The source as it was looked at: what is copied is this, or nothing."""

    etag: bytes
    size: int
    version_id: str | None


async def copy_object(call: Call) -> Answer | S3Error:
    """CopyObject."""
    plan = call.plan
    route: Route | None = None

    async def look_now() -> Base:
        assert route is not None
        return await look(call, route, plan.key)

    mutation = await admit_change(call, "copy", look_now, size=-1, objects=1)
    if isinstance(mutation, S3Error):
        return mutation
    with mutation:
        route = call.admitted.route
        problem = physical_problem(route.prefix, plan.key)
        if problem is not None:
            return problem
        mutation.start_reading()
        pinned = await _pin(call)
        if isinstance(pinned, S3Error):
            return pinned
        size = await mutation.take_size(pinned.size, 1)
        return await _copy(call, mutation, pinned, b"", size, 1)


async def upload_part_copy(call: Call) -> Answer | S3Error:
    """UploadPartCopy."""
    plan = call.plan
    upload = open_upload(call)
    if isinstance(upload, S3Error):
        return upload
    number = plan.part_number or 0
    mutation = await admit_change(
        call,
        "partcopy",
        partial(look_at_part, call, upload, number),
        size=-1,
        objects=0,
        upload=upload,
        part=number,
    )
    if isinstance(mutation, S3Error):
        return mutation
    with mutation:
        refusal = belongs(call, upload)
        if refusal is not None:
            return refusal
        pinned = await _pin(call)
        if isinstance(pinned, S3Error):
            return pinned
        size = pinned.size
        if plan.source_range is not None:
            first, last = plan.source_range
            if last >= size:
                return error(
                    Code.INVALID_ARGUMENT, f"Range specified is not valid for source object of size: {size}"
                )
            size = last - first + 1
        await mutation.take_size(size, 0)
        answer = await _copy(call, mutation, pinned, plan.node_query(upload.node_upload_id), size, 0)
        if mutation.is_orphan:
            route = call.admitted.route
            await abandon(call, path_of(route, plan.key, plan.raw_key), upload.node_upload_id)
        return answer


async def _pin(call: Call) -> Pinned | S3Error:
    """Look at the source, judge the client's conditions, and fix what will be copied."""
    plan, worker, source_route = call.plan, call.worker, call.admitted.source
    source = plan.source
    assert source is not None
    assert source_route is not None
    node = await worker.nodes.find(source_route.node)
    query = encode_query([("versionId", source.version_id)]) if source.version_id else b""
    keys = [
        (name.replace(b"x-amz-copy-source-server-side", b"x-amz-server-side"), value)
        for name, value in plan.headers
        if name.startswith(b"x-amz-copy-source-server-side-encryption")
    ]
    exchange = await worker.nodes.request(node, b"HEAD", path_of(source_route, source.key), query, keys)
    await exchange.aclose()
    if exchange.status >= 300:
        return plain_error(exchange.status, exchange.headers, key=source.key)
    etag, length = header(exchange.headers, b"etag"), header(exchange.headers, b"content-length")
    modified = header(exchange.headers, b"last-modified")
    if etag is None or length is None or modified is None:
        raise RemoteProtocolError("the node told too little of the copy's source")
    seconds = parsedate_to_datetime(modified.decode("latin-1")).timestamp()
    if not plan.source_conditions.hold(etag.decode("latin-1"), seconds):
        # What the condition was compared with, as the node tells it of its own.
        about = ((b"etag", etag), (b"last-modified", modified))
        return replace(error(Code.PRECONDITION_FAILED), headers=about)
    return Pinned(etag, int(length), source.version_id)


async def _copy(
    call: Call, mutation: Mutation, pinned: Pinned, query: bytes, size: int, objects: int
) -> Answer | S3Error:
    plan, worker, admitted = call.plan, call.worker, call.admitted
    source, source_route = plan.source, admitted.source
    assert source is not None
    assert source_route is not None
    if source_route.node != admitted.route.node:
        return await copy_across(call, mutation, pinned, query, size, objects)
    await mutation.may_release()
    call.check()
    node = await worker.nodes.find(admitted.route.node)
    headers = [
        *plan.headers,
        (
            HEADER.encode(),
            node_source(source_route.bucket, source_route.prefix, source.key, pinned.version_id),
        ),
        (b"x-amz-copy-source-if-match", pinned.etag),
    ]
    try:
        exchange = await worker.nodes.request(
            node, b"PUT", path_of(admitted.route, plan.key, plan.raw_key), query, headers, body=b""
        )
        body = await exchange.read(MAX_RESULT_BYTES)
    except UpstreamError as failure:
        if not failure.body_sent:
            mutation.not_sent()
        raise
    await exchange.aclose()
    stored = read_copied(exchange.status, body, names_of(call), part=objects == 0)
    if isinstance(stored, S3Error):
        if exchange.status >= 500 or (exchange.status < 300 and stored.status >= 500):
            await mutation.doubt()
        else:
            await mutation.none()
        return stored
    await mutation.done(size, objects)
    if objects:
        tell(call, "ObjectCreated:Copy", size=size, etag=stored.etag, headers=exchange.headers)
    document = xml_write.copy_object(stored.etag, stored.last_modified, stored.checksums, part=objects == 0)
    return Answer(200, document_headers(exchange.headers), document)
