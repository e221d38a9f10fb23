"""Operations whose request is one small document about one object: tags, legal hold, retention, Select.

Each is read whole within its bound, held to everything that its signature and its digests say (protocol, rule 16),
and written anew for the node, or passed on as the bytes that were checked.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy import whole_bodies
from proxy.admission import admit_read
from proxy.call import Answer, Call
from proxy.events import tell
from proxy.operations.relaying import node_refusal, path_of, relay, relay_small
from proxy.s3.errors import Code, Refusal, S3Error, error
from proxy.s3.headers import header_map
from proxy.s3.payload import document_problem
from proxy.s3.target import physical_problem
from proxy.s3.xml_read import NotXML, local, parse_xml, read_tagging, write_tagging
from proxy.upstream import Exchange

_ROOTS = {
    "PutObjectLegalHold": "LegalHold",
    "PutObjectRetention": "Retention",
    "SelectObjectContent": "SelectObjectContentRequest",
}


async def whole_document(call: Call, *, digest_required: bool = False) -> bytes | Refusal:
    """Return the request's document, verified; a refusal when a digest of it does not hold.

    Raises `SigV4Error` where the signature says another thing. `digest_required` as DeleteObjects has it.
    """
    body = await whole_bodies.whole(call, call.plan.document_bytes)
    headers = header_map(call.headers)
    if isinstance(headers, Refusal):
        return headers
    return document_problem(body, headers, required=digest_required) or body


async def put_tags(call: Call) -> Answer | S3Error:
    """PutObjectTagging."""
    refusal = await _admit(call)
    if refusal is not None:
        return refusal
    body = await whole_document(call)
    if isinstance(body, Refusal):
        return body
    tags = read_tagging(body)
    if isinstance(tags, Refusal):
        return tags
    return await _changed(call, await _ask(call, b"PUT", write_tagging(tags)), "PutTagging")


async def delete_tags(call: Call) -> Answer | S3Error:
    """DeleteObjectTagging."""
    refusal = await _admit(call)
    if refusal is not None:
        return refusal
    return await _changed(call, await _ask(call, b"DELETE", b""), "DeleteTagging")


async def put_lock(call: Call) -> Answer | S3Error:
    """PutObjectLegalHold and PutObjectRetention, as the node has them.

    `x-amz-bypass-governance-retention` never reaches the node: to it every client is the gate, which may bypass.
    """
    refusal = await _admit(call)
    if refusal is not None:
        return refusal
    body = await _checked(call)
    if isinstance(body, Refusal):
        return body
    is_hold = call.plan.operation.name == "PutObjectLegalHold"
    exchange = await _ask(call, b"PUT", body)
    return await _changed(call, exchange, "PutLegalHold" if is_hold else "PutRetention")


async def select(call: Call) -> S3Error | None:
    """SelectObjectContent: the node's event stream as it comes."""
    refusal = await _admit(call)
    if refusal is not None:
        return refusal
    body = await _checked(call)
    if isinstance(body, Refusal):
        return body
    exchange = await _ask(call, b"POST", body, call.plan.headers)
    if exchange.status >= 400:
        return await node_refusal(call, exchange)
    await relay(call, exchange)
    return None


async def _changed(call: Call, exchange: Exchange, event: str) -> Answer | S3Error:
    answer = await relay_small(call, exchange)
    if isinstance(answer, Answer):
        tell(call, f"ObjectCreated:{event}", headers=answer.headers)
    return answer


async def _admit(call: Call) -> S3Error | None:
    return await admit_read(call) or physical_problem(call.admitted.route.prefix, call.plan.key)


async def _checked(call: Call) -> bytes | Refusal:
    body = await whole_document(call)
    if isinstance(body, Refusal):
        return body
    try:
        root = parse_xml(body, max_bytes=call.plan.document_bytes, max_elements=256)
    except NotXML:
        return error(Code.MALFORMED_XML)
    return body if local(root) == _ROOTS[call.plan.operation.name] else error(Code.MALFORMED_XML)


async def _ask(
    call: Call, method: bytes, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
) -> Exchange:
    plan, nodes, route = call.plan, call.worker.nodes, call.admitted.route
    node = await nodes.find(route.node)
    about = [(b"content-md5", whole_bodies.md5(body)), (b"content-type", b"application/xml")] if body else []
    call.check()
    return await nodes.request(
        node,
        method,
        path_of(route, plan.key, plan.raw_key),
        plan.node_query(),
        [*headers, *about],
        payload_sha256=whole_bodies.sha256(body),
        body=body or None,
    )
