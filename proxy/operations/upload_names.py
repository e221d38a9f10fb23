"""Upload ids on their way in and out, and a look at one part (protocol, rule 10)."""

from __future__ import annotations

from proxy.call import Call
from proxy.mutation import Base
from proxy.operations.relaying import SMALL_DOCUMENT, path_of
from proxy.s3.errors import Code, S3Error, error
from proxy.s3.target import encode_query
from proxy.s3.upload_ids import AAD, UploadId, make_upload_id, read_upload_id
from proxy.s3.xml_read import child, children, parse_xml, text_of
from proxy.upstream import RemoteProtocolError, UpstreamError
from quota import SealError


def seal_upload(call: Call, upload: UploadId) -> str:
    """Return the id that the client gets."""
    return make_upload_id(upload, lambda content: call.worker.sealer.seal(content, AAD))


def open_upload(call: Call) -> UploadId | S3Error:
    """Return what the request's upload id stands for, if it was made here for this key."""

    def open_sealed(sealed: str) -> bytes | None:
        try:
            return call.worker.sealer.open(sealed, AAD)
        except SealError:
            return None

    text = call.plan.upload_id or ""
    return read_upload_id(text, call.plan.key, open_sealed)


def belongs(call: Call, upload: UploadId) -> S3Error | None:
    """Refuse an upload of another workspace than the one admitted, or of a node that it no longer lives on."""
    admitted = call.admitted
    if upload.workspace != admitted.workspace or upload.node != admitted.route.node:
        return error(Code.NO_SUCH_UPLOAD)
    return None


async def abandon(call: Call, path: bytes, node_upload: str) -> None:
    """End an upload at the node that nobody knows of, or that nobody should any more; harmless when it is gone."""
    worker = call.worker
    node = await worker.nodes.find(call.admitted.route.node)
    try:
        exchange = await worker.nodes.request(
            node, b"DELETE", path, encode_query([("uploadId", node_upload)])
        )
        await exchange.aclose()
    except UpstreamError:
        # What is left of it has no name here; the node's own sweep of stale uploads removes it.
        return


async def look_at_part(call: Call, upload: UploadId, number: int) -> Base:
    """Return what part `number` holds at the node now; nothing where the upload is gone."""
    worker, route = call.worker, call.admitted.route
    node = await worker.nodes.find(route.node)
    query = encode_query(
        [("uploadId", upload.node_upload_id), ("part-number-marker", str(number - 1)), ("max-parts", "1")]
    )
    exchange = await worker.nodes.request(node, b"GET", path_of(route, call.plan.key), query)
    body = await exchange.read(SMALL_DOCUMENT)
    await exchange.aclose()
    if exchange.status == 404:
        return Base(0, 0)
    if exchange.status != 200:
        raise RemoteProtocolError(f"the node answered a look at a part with {exchange.status}")
    root = parse_xml(body, max_bytes=SMALL_DOCUMENT, max_elements=1000)
    for part in children(root, "Part"):
        if text_of(child(part, "PartNumber")) == str(number):
            return Base(int(text_of(child(part, "Size"))), 0)
    return Base(0, 0)
