"""Listings of a workspace."""

from __future__ import annotations

import binascii

from proxy.admission import admit_read
from proxy.call import Answer, Call
from proxy.operations.multipart import owner_of
from proxy.operations.relaying import document_headers, node_refusal
from proxy.s3.errors import Refusal, S3Error
from proxy.s3.listing import MAX_PAGE_BYTES, parse_listing, rewrite_listing
from quota import SealError


async def list_objects(call: Call) -> Answer | S3Error:
    """ListObjects, ListObjectsV2 and ListObjectVersions."""
    refusal = await admit_read(call)
    if refusal is not None:
        return refusal
    plan, admitted, worker = call.plan, call.admitted, call.worker
    listing = parse_listing(plan.operation.name, plan.bucket or "", plan.query)
    if isinstance(listing, Refusal):
        return listing
    # A token is good in the workspace that it was made for, and nowhere else.
    aad = b"token:" + admitted.workspace.encode()

    def open_token(sealed: str) -> bytes | None:
        try:
            return worker.sealer.open(sealed, aad)
        except (SealError, binascii.Error):
            return None

    query = listing.node_query(admitted.route.prefix, open_token)
    if isinstance(query, Refusal):
        return query
    node = await worker.nodes.find(admitted.route.node)
    exchange = await worker.nodes.request(
        node, b"GET", b"/" + admitted.route.bucket.encode("ascii"), query, plan.headers
    )
    if exchange.status >= 300:
        return await node_refusal(call, exchange)
    body = await exchange.read(MAX_PAGE_BYTES)
    await exchange.aclose()
    document = rewrite_listing(
        listing,
        admitted.route.prefix,
        body,
        owner=owner_of(call),
        seal_token=lambda token: worker.sealer.seal(token, aad),
    )
    return Answer(200, document_headers(exchange.headers), document)
