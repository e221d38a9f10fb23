"""MinIO's `get-bucket-quota`, which `mc quota info` asks for: read only, with the gate's limits.

Beside `/minio/health/*` it is the only call of MinIO's own that is answered. Source: madmin-go, quota-commands.go.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Final

from proxy import denials
from proxy.authentication import REDIS_GONE, authenticate
from proxy.call import Answer, Call
from proxy.s3.errors import Code, Refusal, S3Error, error
from proxy.s3.names import split_bucket
from proxy.s3.target import parse_query
from quota import Denial, Permission
from quota.gate import GateUnavailable

PATH: Final = b"/minio/admin/v3/get-bucket-quota"
_JSON: Final = ((b"content-type", b"application/json"),)


async def serve_quota(call: Call) -> S3Error | None:
    """Answer one call; returns what is to be refused, None when it has been answered."""
    call.operation = "MinioGetBucketQuota"
    # mc signs the calls of MinIO's own for no region.
    signed = next((value for name, value in call.headers if name == b"authorization"), b"")
    refusal = await authenticate(call, None, region="" if b"//s3/aws4_request" in signed else None)
    if refusal is not None:
        return refusal
    query = parse_query(call.scope["query_string"])
    if isinstance(query, Refusal):
        return query
    bucket = query.get("bucket") or ""
    if split_bucket(bucket) is None:
        return error(Code.INVALID_BUCKET_NAME, None, BucketName=bucket[:256])
    try:
        most = await _most_bytes(call, bucket)
    except GateUnavailable:
        return REDIS_GONE
    if isinstance(most, S3Error):
        return most
    told: dict[str, Any] = {"quota": most, "size": most, "rate": 0, "requests": 0}
    if most:
        told["quotatype"] = "hard"
    await call.answer(Answer(200, _JSON, json.dumps(told).encode()))
    return None


async def _most_bytes(call: Call, bucket: str) -> int | S3Error:
    """Return the tightest byte limit of the four levels over a workspace; 0 where there is none, as MinIO says it."""
    gate = call.worker.gate
    admitted = await gate.admit_read(call.access_key_id, bucket, Permission.READ)
    if isinstance(admitted, Denial):
        return denials.explain(admitted, bucket)
    place = await gate.record("WORKSPACES", admitted.workspace)
    if place is None:
        return error(Code.NO_SUCH_BUCKET)
    owner, root = place["owner"], place["root"]
    levels = (
        (f"w:{admitted.workspace}", f"w:@{owner}", "w:*"),
        (f"u:{owner}", "u:*"),
        (f"ur:{owner}:{root}", f"ur:*:{root}", "ur:*:*"),
        (f"r:{root}", "r:*"),
    )
    found = await asyncio.gather(
        *(asyncio.gather(*(gate.record("LIMITS", id) for id in level)) for level in levels)
    )
    now = time.time() * 1000
    in_force = [next((limit for limit in level if limit is not None), None) for level in found]
    return min((most for limit in in_force if limit and (most := _bytes(limit, now))), default=0)


def _bytes(limit: dict[str, Any], now: float) -> int | None:
    raised = limit.get("raised") or {}
    if raised.get("until_ms", 0) > now:
        limit = {**limit, "bytes": raised.get("bytes") or limit.get("bytes")}
    most: int | None = limit.get("bytes")
    return most
