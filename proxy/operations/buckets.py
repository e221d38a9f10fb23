"""Virtual buckets: list, look at, make and delete workspaces. What makes or deletes asks the broker."""

from __future__ import annotations

from typing import Any

from proxy import denials
from proxy.admission import admit_read, register
from proxy.call import XML, Answer, Call
from proxy.operations.documents import whole_document
from proxy.operations.multipart import owner_of
from proxy.operations.reading import must_exist
from proxy.s3 import xml_write
from proxy.s3.errors import Code, Refusal, S3Error, error
from proxy.s3.names import workspace_problem
from proxy.s3.unconfigured import unconfigured
from proxy.s3.xml_read import read_location
from quota import Admitted, Denial, Route
from quota.calls import CallFailed


async def list_buckets(call: Call) -> Answer | S3Error:
    """ListBuckets: one's own workspaces and those shared with one."""
    seen = call.worker.lease.seen
    found = await call.worker.gate.buckets(call.access_key_id)
    if isinstance(found, Denial):
        return denials.explain(found, "")
    user, buckets = found
    depends = (f"c:{call.access_key_id}", f"u:{user}")
    admitted = Admitted(seen, user, "", Route("", "", ""), depends, 0, False, "none", "", None)
    refusal = register(call, admitted, "download")
    if refusal is not None:
        return refusal
    prefix = call.plan.query.get("prefix")
    shown = sorted((name, created / 1000) for name, created in buckets if name.startswith(prefix or ""))
    return Answer(200, XML, xml_write.list_buckets(shown, owner=user, owner_name=user, prefix=prefix))


async def head_bucket(call: Call) -> Answer | S3Error:
    """HeadBucket."""
    refusal = await admit_read(call)
    if refusal is not None:
        return refusal
    return Answer(200, (*XML, (b"x-amz-bucket-region", call.worker.settings.region.encode())))


async def bucket_location(call: Call) -> Answer | S3Error:
    """GetBucketLocation."""
    refusal = await admit_read(call)
    if refusal is not None:
        return refusal
    return Answer(200, XML, xml_write.location(call.worker.settings.region))


async def read_unconfigured(call: Call) -> Answer | S3Error:
    """A setting that a prefix cannot have: as a bucket without it answers."""
    refusal = await admit_read(call)
    if refusal is not None:
        return refusal
    if call.plan.key:
        missing = await must_exist(call)
        if missing is not None:
            return missing
    found = unconfigured(call.plan.operation.name, owner=owner_of(call))
    if isinstance(found, Refusal):
        return found
    return Answer(found.status, XML, found.body)


async def create_bucket(call: Call) -> Answer | S3Error:
    """CreateBucket: a workspace in the caller's default root."""
    plan, worker = call.plan, call.worker
    body = await whole_document(call)
    if isinstance(body, Refusal):
        return body
    region = read_location(body)
    if isinstance(region, Refusal):
        return region
    if region not in (None, "", worker.settings.region):
        return error(Code.INVALID_LOCATION_CONSTRAINT, None, LocationConstraint=region)
    bucket = plan.bucket or ""
    # Whatever share one has on it, the answer must let clients go on that make every bucket first (rclone).
    had = await worker.gate.admit_read(call.access_key_id, bucket, 1)
    if not isinstance(had, Denial):
        return error(Code.BUCKET_ALREADY_OWNED)
    if had.code not in ("NoSuchBucket", "AccessDenied"):
        return denials.explain(had, bucket)
    if had.code == "AccessDenied":
        return denials.explain(had, bucket)
    problem = workspace_problem(bucket.rpartition(".")[2])
    if problem is not None:
        return error(Code.INVALID_BUCKET_NAME, problem)
    return await _ask(
        call, "create_workspace", {"name": bucket}, Answer(200, ((b"location", b"/" + bucket.encode()),))
    )


async def delete_bucket(call: Call) -> Answer | S3Error:
    """DeleteBucket: an empty workspace."""
    refusal = await admit_read(call)
    if refusal is not None:
        return refusal
    if call.transfer is not None:
        # The deletion revokes all that depends on the workspace, and would cut the very request that asks for it.
        call.worker.transfers.finish(call.transfer)
        call.transfer = None
    return await _ask(call, "delete_workspace", {"workspace": call.admitted.workspace}, Answer(204))


async def _ask(call: Call, name: str, payload: dict[str, Any], answer: Answer) -> Answer | S3Error:
    worker = call.worker
    user = await worker.gate.user_of(call.access_key_id)
    if user is None:
        return denials.UNKNOWN_KEY
    try:
        told = await worker.calls.call(
            name,
            {
                **payload,
                "user": user,
                "access_key_id": call.access_key_id,
                "request_id": call.request_id.decode(),
            },
        )
    except CallFailed:
        return error(
            Code.SLOW_DOWN, "The broker does not answer now, and this needs it. Try again in a moment."
        )
    failed = told.get("error")
    if failed:
        return S3Error(failed["code"], failed["status"], failed["message"])
    return answer
