"""Operations that read one object."""

from __future__ import annotations

from proxy.admission import admit_read
from proxy.call import Answer, Call
from proxy.operations.relaying import node_refusal, path_of, relay, relay_small
from proxy.s3.errors import S3Error
from proxy.s3.rewrite import plain_error
from proxy.s3.target import encode_query, physical_problem


async def read_object(call: Call) -> S3Error | None:
    """GetObject and HeadObject."""
    refusal = await admit_read(call)
    if refusal is not None:
        return refusal
    plan, nodes, route = call.plan, call.worker.nodes, call.admitted.route
    node = await nodes.find(route.node)
    exchange = await nodes.request(
        node,
        call.method.encode("ascii"),
        path_of(route, plan.key, plan.raw_key),
        plan.node_query(),
        plan.headers,
    )
    if exchange.status >= 400:
        return await node_refusal(call, exchange)
    await relay(call, exchange)
    return None


async def must_exist(call: Call) -> S3Error | None:
    """Return the error of a key or version that is not there, for what the gate answers by itself."""
    plan, nodes, route = call.plan, call.worker.nodes, call.admitted.route
    query = encode_query([("versionId", plan.version_id)]) if plan.version_id else b""
    node = await nodes.find(route.node)
    exchange = await nodes.request(node, b"HEAD", path_of(route, plan.key, plan.raw_key), query)
    await exchange.aclose()
    return plain_error(404, exchange.headers, key=plan.key) if exchange.status == 404 else None


async def read_facts(call: Call) -> Answer | S3Error:
    """GetObjectTagging, -Attributes, -LegalHold and -Retention: small documents that name nothing."""
    refusal = await admit_read(call) or physical_problem(call.admitted.route.prefix, call.plan.key)
    if refusal is not None:
        return refusal
    plan, nodes, route = call.plan, call.worker.nodes, call.admitted.route
    node = await nodes.find(route.node)
    exchange = await nodes.request(
        node, b"GET", path_of(route, plan.key, plan.raw_key), plan.node_query(), plan.headers
    )
    return await relay_small(call, exchange)
