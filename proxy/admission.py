"""Step 4: ask the live state for leave, and take the request in among those that a revocation finds."""

from __future__ import annotations

from typing import Final

from proxy import denials
from proxy.call import Call
from proxy.guard import current_guard
from proxy.mutation import Look, Mutation
from proxy.s3.errors import Code, S3Error, error
from proxy.s3.upload_ids import UploadId
from proxy.transfers import Transfer
from quota import Admitted, Denial, new_hold
from quota.gate import Stake

REVOKED: Final = error(Code.ACCESS_DENIED, "What this request was admitted by has just been revoked.")


async def admit_read(call: Call) -> S3Error | None:
    """Ask for leave to do what takes no room. Returns the refusal, or None."""
    plan = call.plan
    assert plan.bucket is not None
    assert plan.permission is not None
    admitted = await call.worker.gate.admit_read(call.access_key_id, plan.bucket, plan.permission)
    if isinstance(admitted, Denial):
        return denials.explain(admitted, plan.bucket)
    return register(call, admitted, "download")


async def admit_change(
    call: Call,
    kind: str,
    look: Look,
    *,
    size: int,
    objects: int,
    upload: UploadId | None = None,
    part: int = 0,
    version: str = "",
) -> Mutation | S3Error:
    """Ask for leave to change the plan's key, with a hold of `size` bytes and `objects` objects (-1 for later).

    The mutation that is returned owns the hold: use it as a context manager. `kind` as in `quota/lua/admit.lua`.
    """
    plan, gate = call.plan, call.worker.gate
    assert plan.bucket is not None
    hold = new_hold()
    admitted = await gate.admit(
        call.access_key_id,
        plan.bucket,
        int(plan.permission or 2),
        kind,
        hold,
        plan.key.encode(),
        source=plan.source.bucket if plan.source is not None else "",
        size=size,
        objects=objects,
        upload=upload.id if upload is not None else "",
        part=part,
        version=version,
    )
    if isinstance(admitted, Denial):
        return denials.explain(admitted, plan.bucket)
    stake = Stake(
        admitted.workspace,
        kind,
        plan.key.encode(),
        upload.id if upload is not None else "",
        part,
        version,
        objects=objects,
    )
    mutation = Mutation(gate, hold, admitted.duty, look, presume_absent=plan.create_only, stake=stake)
    mutation.size = size
    mutation.was_sent = call.was_sent
    call.mutation = mutation
    refusal = register(call, admitted, "upload")
    if refusal is not None:
        await mutation.none()
        return refusal
    return mutation


def register(call: Call, admitted: Admitted, direction: str) -> S3Error | None:
    """Take an admitted request in before anything is forwarded (protocol, rule 12). Returns a refusal or None."""
    call.admitted = admitted
    plan = call.plan
    call.task = call.connection.task
    transfer = Transfer(
        call.request_id.decode(),
        chain=admitted.chain,
        user=admitted.user,
        workspace=admitted.workspace,
        bucket=plan.bucket or "",
        key=plan.key,
        operation=plan.operation.name,
        direction=direction,
        abort=call.stop,
    )
    if not call.worker.transfers.register(transfer, admitted.rev, admitted.share_ends_ms):
        return REVOKED
    call.transfer = transfer
    call.worker.uses.note(call.access_key_id)
    current_guard.set(call)
    call.connection.set_guard(call.may_move)
    call.connection.on_disconnect(call.stop)
    return None
