"""Multipart uploads: begin, list parts, complete, abort, list uploads. (Parts themselves: writing.py, copying.py.)"""

from __future__ import annotations

import json

from proxy import denials, whole_bodies
from proxy.admission import admit_change, admit_read
from proxy.call import XML, Answer, Call
from proxy.events import tell
from proxy.mutation import Base
from proxy.operations.relaying import base_url, document_headers, look, names_of, node_refusal, path_of
from proxy.operations.upload_names import abandon, belongs, open_upload, seal_upload
from proxy.s3 import xml_write
from proxy.s3.errors import Refusal, S3Error
from proxy.s3.listing import asks_url
from proxy.s3.rewrite import MAX_LIST_BYTES, MAX_RESULT_BYTES, read_completed, read_initiated, read_parts
from proxy.s3.target import physical_problem
from proxy.s3.upload_ids import UploadId
from proxy.s3.uploads import Upload, list_uploads, parse_upload_listing
from proxy.s3.xml_read import read_complete, write_complete
from proxy.upstream import UpstreamError
from quota import Denial, Route, new_id


async def create_upload(call: Call) -> Answer | S3Error:
    """CreateMultipartUpload: recorded before the client learns the id; what cannot be recorded is aborted."""
    refusal = await admit_read(call) or physical_problem(call.admitted.route.prefix, call.plan.key)
    if refusal is not None:
        return refusal
    plan, admitted, worker = call.plan, call.admitted, call.worker
    node = await worker.nodes.find(admitted.route.node)
    path = path_of(admitted.route, plan.key, plan.raw_key)
    exchange = await worker.nodes.request(node, b"POST", path, b"uploads=", plan.headers)
    if exchange.status >= 300:
        return await node_refusal(call, exchange)
    body = await exchange.read(MAX_RESULT_BYTES)
    headers = document_headers(exchange.headers)
    await exchange.aclose()
    node_upload = read_initiated(exchange.status, body, names_of(call))
    if isinstance(node_upload, S3Error):
        return node_upload
    upload = UploadId(admitted.workspace, plan.key, node.id, node_upload, new_id())
    sealed = seal_upload(call, upload)
    recorded = False
    try:
        denied = await worker.gate.begin_upload(
            admitted.workspace,
            upload.id,
            plan.key.encode(),
            node.id,
            worker.sealer.seal(node_upload.encode(), b"node-upload"),
        )
        recorded = denied is None
    finally:
        if not recorded:
            await abandon(call, path, node_upload)
    if denied is not None:
        return denials.explain(denied, plan.bucket or "")
    return Answer(200, headers, xml_write.initiate_multipart(plan.bucket or "", plan.key, sealed))


async def list_parts(call: Call) -> Answer | S3Error:
    """ListParts."""
    upload = open_upload(call)
    if isinstance(upload, S3Error):
        return upload
    refusal = await admit_read(call) or belongs(call, upload)
    if refusal is not None:
        return refusal
    plan, admitted, worker = call.plan, call.admitted, call.worker
    url = asks_url(plan.query)
    if isinstance(url, Refusal):
        return url
    node = await worker.nodes.find(admitted.route.node)
    exchange = await worker.nodes.request(
        node, b"GET", path_of(admitted.route, plan.key, plan.raw_key), plan.node_query(upload.node_upload_id)
    )
    body = await exchange.read(MAX_LIST_BYTES)
    await exchange.aclose()
    page = read_parts(exchange.status, body, names_of(call))
    if isinstance(page, S3Error):
        return page
    marker = plan.query.get("part-number-marker") or "0"
    document = xml_write.list_parts(
        plan.bucket or "",
        plan.key,
        plan.upload_id or "",
        page.parts,
        owner=owner_of(call),
        marker=int(marker) if marker.isdigit() else 0,
        next_marker=page.next_marker,
        max_parts=page.max_parts,
        truncated=page.truncated,
        storage_class=page.storage_class,
        checksum=page.checksum,
        url=url,
    )
    return Answer(200, XML, document)


def owner_of(call: Call) -> str:
    """Return the opaque owner that documents show: the same for all of a workspace, telling nothing."""
    return call.admitted.workspace


async def complete_upload(call: Call) -> Answer | S3Error:
    """CompleteMultipartUpload: the parts become the object; by the body of the node's answer, whatever its status."""
    plan = call.plan
    upload = open_upload(call)
    if isinstance(upload, S3Error):
        return upload
    route: Route | None = None

    async def look_now() -> Base:
        assert route is not None
        return await look(call, route, plan.key)

    mutation = await admit_change(call, "complete", look_now, size=-1, objects=1, upload=upload)
    if isinstance(mutation, S3Error):
        return mutation
    with mutation:
        route = call.admitted.route
        refusal = belongs(call, upload)
        if refusal is not None:
            return refusal
        mutation.start_reading()
        parts = read_complete(await whole_bodies.whole(call, plan.document_bytes))
        if isinstance(parts, Refusal):
            return parts
        size = await mutation.take_size(0, 1, tuple(part.number for part in parts))
        await mutation.may_release()
        call.check()
        worker = call.worker
        node = await worker.nodes.find(route.node)
        document = write_complete(parts)
        try:
            exchange = await worker.nodes.request(
                node,
                b"POST",
                path_of(route, plan.key, plan.raw_key),
                plan.node_query(upload.node_upload_id),
                [*plan.headers, (b"content-type", b"application/xml")],
                payload_sha256=whole_bodies.sha256(document),
                body=document,
            )
        except UpstreamError as failure:
            if not failure.body_sent:
                mutation.not_sent()
            raise
        body = await exchange.read(MAX_RESULT_BYTES)
        await exchange.aclose()
        stored = read_completed(exchange.status, body, names_of(call))
        if isinstance(stored, S3Error):
            if exchange.status >= 500:
                await mutation.doubt()
            else:
                await mutation.none()
            return stored
        await mutation.done(size, 1)
        tell(
            call,
            "ObjectCreated:CompleteMultipartUpload",
            size=size,
            etag=stored.etag,
            headers=exchange.headers,
        )
    where = f"{base_url(call)}/{plan.bucket}/{plan.raw_key.decode('ascii', 'replace')}"
    return Answer(
        200,
        document_headers(exchange.headers),
        xml_write.complete_multipart(plan.bucket or "", plan.key, stored.etag, where, stored.checksums),
    )


async def abort_upload(call: Call) -> Answer | S3Error:
    """AbortMultipartUpload: what its parts were charged is given back at once."""
    plan = call.plan
    upload = open_upload(call)
    if isinstance(upload, S3Error):
        return upload
    refusal = await admit_read(call) or belongs(call, upload)
    if refusal is not None:
        return refusal
    admitted, worker = call.admitted, call.worker
    node = await worker.nodes.find(admitted.route.node)
    exchange = await worker.nodes.request(
        node,
        b"DELETE",
        path_of(admitted.route, plan.key, plan.raw_key),
        plan.node_query(upload.node_upload_id),
        plan.headers,
    )
    if exchange.status < 300 or exchange.status == 404:
        await worker.gate.end_upload(admitted.workspace, upload.id)
    if exchange.status >= 300:
        return await node_refusal(call, exchange)
    await exchange.aclose()
    return Answer(204)


async def list_multipart_uploads(call: Call) -> Answer | S3Error:
    """ListMultipartUploads, from the gate's own records."""
    refusal = await admit_read(call)
    if refusal is not None:
        return refusal
    plan, admitted, worker = call.plan, call.admitted, call.worker
    asked = parse_upload_listing(plan.bucket or "", plan.query)
    if isinstance(asked, Refusal):
        return asked
    found = await worker.gate.uploads(admitted.workspace)
    if isinstance(found, Denial):
        return denials.explain(found, plan.bucket or "")
    uploads = []
    for id, raw in found:
        record = json.loads(raw)
        node_upload = worker.sealer.open(record["nu"], b"node-upload").decode()
        sealed = seal_upload(call, UploadId(record["ws"], record["key"], record["node"], node_upload, id))
        uploads.append(Upload(record["key"], sealed, record["t"] / 1000))
    return Answer(200, XML, list_uploads(asked, uploads, owner=owner_of(call)))
