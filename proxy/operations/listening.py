"""MinIO's ListenNotification: the events of one workspace, for as long as the client listens."""

from __future__ import annotations

from proxy.admission import admit_read
from proxy.call import Call
from proxy.operations.multipart import owner_of
from proxy.operations.relaying import names_of, node_refusal
from proxy.s3.errors import BadNodeAnswer, Refusal, S3Error
from proxy.s3.notification import MAX_LINE_BYTES, listen_query, rewrite_event


async def listen(call: Call) -> S3Error | None:
    """ListenNotification: line by line, with the client's names; keep-alives pass as they come.

    Ends when the client goes, the node ends it, or what the request was admitted by is revoked.
    """
    refusal = await admit_read(call)
    if refusal is not None:
        return refusal
    plan, nodes, route = call.plan, call.worker.nodes, call.admitted.route
    query = listen_query(plan.query, route.prefix)
    if isinstance(query, Refusal):
        return query
    node = await nodes.find(route.node)
    exchange = await nodes.request(node, b"GET", b"/" + route.bucket.encode("ascii"), query)
    if exchange.status >= 300:
        return await node_refusal(call, exchange)
    names, owner, rest = names_of(call), owner_of(call), b""
    try:
        await call.begin(200, [(b"content-type", b"text/event-stream")])
        # The head leaves with the first piece, and the client waits for it.
        await call.send({"type": "http.response.body", "body": b" ", "more_body": True})
        async for chunk in exchange:
            call.check()
            *lines, rest = (rest + chunk).split(b"\n")
            told = [rewrite_event(line + b"\n", names, owner) for line in lines]
            if not rest.strip():
                # A keep-alive is a space without a line's end.
                told, rest = [*told, rest], b""
            if len(rest) > MAX_LINE_BYTES:
                raise BadNodeAnswer("an event that is too long")
            answer = b"".join(line for line in told if line)
            if answer:
                call.bytes_out += len(answer)
                await call.send({"type": "http.response.body", "body": answer, "more_body": True})
        await call.send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        await exchange.aclose()
    return None
