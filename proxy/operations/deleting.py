"""DeleteObject and DeleteObjects: give back what they free, at once and once."""

from __future__ import annotations

from proxy import denials, whole_bodies
from proxy.admission import admit_change, admit_read
from proxy.call import XML, Answer, Call, header
from proxy.events import make_event, tell
from proxy.mutation import Base
from proxy.operations.deletion_groups import DeletionGroups
from proxy.operations.documents import whole_document
from proxy.operations.relaying import look, names_of, node_refusal, path_of, relay_small
from proxy.s3 import xml_write
from proxy.s3.errors import Code, Refusal, S3Error, error
from proxy.s3.rewrite import MAX_LIST_BYTES, read_deleted
from proxy.s3.target import physical_problem
from proxy.s3.xml_read import read_delete, write_delete
from proxy.upstream import UpstreamError
from quota import Route


async def delete_object(call: Call) -> Answer | S3Error:
    """DeleteObject."""
    plan = call.plan
    route: Route | None = None

    async def look_now() -> Base:
        assert route is not None
        return await look(call, route, plan.key, plan.version_id if call.admitted.versioned else None)

    mutation = await admit_change(call, "delete", look_now, size=0, objects=0, version=plan.version_id or "")
    if isinstance(mutation, S3Error):
        return mutation
    with mutation:
        route = call.admitted.route
        problem = physical_problem(route.prefix, plan.key) or _version_problem(call, plan.version_id)
        if problem is not None:
            return problem
        await mutation.may_release()
        call.check()
        node = await call.worker.nodes.find(route.node)
        try:
            exchange = await call.worker.nodes.request(
                node, b"DELETE", path_of(route, plan.key, plan.raw_key), plan.node_query(), plan.headers
            )
        except UpstreamError as failure:
            if not failure.body_sent:
                mutation.not_sent()
            raise
        if exchange.status < 300:
            await mutation.done(0, 0)
        elif exchange.status < 500:
            await mutation.none()
        else:
            await mutation.doubt()
        if exchange.status >= 300:
            return await node_refusal(call, exchange)
        marked = header(exchange.headers, b"x-amz-delete-marker") == b"true"
        name = (
            "ObjectRemoved:DeleteMarkerCreated" if marked and not plan.version_id else "ObjectRemoved:Delete"
        )
        tell(call, name, headers=exchange.headers)
        return await relay_small(call, exchange)


def _version_problem(call: Call, version: str | None) -> S3Error | None:
    """Refuse to delete a version where none are kept: `null` there is what the key holds now."""
    if version is None or version == "null" or call.admitted.versioned:
        return None
    return error(Code.NO_SUCH_VERSION)


async def delete_objects(call: Call) -> Answer | S3Error:
    """DeleteObjects: up to 1,000 keys, each settled by what the node says of it."""
    refusal = await admit_read(call)
    if refusal is not None:
        return refusal
    plan, admitted, worker = call.plan, call.admitted, call.worker
    document = await whole_document(call, digest_required=True)
    if isinstance(document, Refusal):
        return document
    asked = read_delete(document)
    if isinstance(asked, Refusal):
        return asked
    route = admitted.route
    failed = [(doomed.key, doomed.version_id, why) for doomed, why in asked.refused]
    objects = []
    for doomed in asked.objects:
        problem = physical_problem(route.prefix, doomed.key) or _version_problem(call, doomed.version_id)
        if problem is not None:
            failed.append((doomed.key, doomed.version_id, problem))
        else:
            objects.append(doomed)
    if not objects:
        return Answer(200, XML, xml_write.delete_result((), failed, quiet=asked.quiet))
    async with DeletionGroups(call, objects) as groups:
        denied = await groups.join()
        if denied is not None:
            return denials.explain(denied, plan.bucket or "")
        await groups.read_bases()
        if not groups.ready:
            failed += [(doomed.key, doomed.version_id, error(Code.SLOW_DOWN)) for doomed in groups.left_out]
            return Answer(200, XML, xml_write.delete_result((), failed, quiet=asked.quiet))
        document = write_delete(tuple(groups.ready), route.prefix)
        node = await worker.nodes.find(route.node)
        call.check()
        groups.release()
        try:
            exchange = await worker.nodes.request(
                node,
                b"POST",
                b"/" + route.bucket.encode("ascii"),
                b"delete=",
                [(b"content-md5", whole_bodies.md5(document)), (b"content-type", b"application/xml")],
                payload_sha256=whole_bodies.sha256(document),
                body=document,
            )
        except UpstreamError as failure:
            if not failure.body_sent:
                groups.not_sent()
            raise
        body = await exchange.read(MAX_LIST_BYTES)
        await exchange.aclose()
        outcome = read_deleted(exchange.status, body, names_of(call))
        if isinstance(outcome, S3Error):
            if exchange.status < 500:
                await groups.none()
            return outcome
        deleted, refused = outcome
        await groups.settle(deleted, [doomed for doomed, _why in refused])
        worker.events.publish(
            admitted.workspace,
            [
                make_event(
                    "ObjectRemoved:DeleteMarkerCreated" if one.delete_marker else "ObjectRemoved:Delete",
                    one.key,
                    version_id=one.version_id or one.delete_marker_version_id or "",
                )
                for one in deleted
            ],
        )
    failed += [(doomed.key, doomed.version_id, why) for doomed, why in refused]
    failed += [(doomed.key, doomed.version_id, error(Code.SLOW_DOWN)) for doomed in groups.left_out]
    return Answer(200, XML, xml_write.delete_result(deleted, failed, quiet=asked.quiet))
