"""Routes of the audit trail, of explanations, and of what runs now."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from broker.audit.queries import list_audit, verify_audit
from broker.web import BrokerDep, CallerDep, Limit
from broker.why import transfers, why

router = APIRouter(tags=["audit"])


@router.get("/audit")
async def list_(
    broker: BrokerDep,
    caller: CallerDep,
    workspace: str | None = None,
    limit: Limit = 1000,
    before: Annotated[int | None, Query(ge=0, le=1 << 53)] = None,
) -> list[dict[str, Any]]:
    """Changes, newest first: of one's workspaces and by oneself; for admins all."""
    return await list_audit(broker, caller, workspace=workspace, limit=limit, before=before)


@router.get("/audit/verify")
async def verify(broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Whether no row is missing, altered or cut off. Admins."""
    return await verify_audit(broker, caller)


@router.get("/why")
async def why_(
    user: str, action: str, bucket: str, broker: BrokerDep, caller: CallerDep, key: str | None = None
) -> dict[str, Any]:
    """Why a user may or may not do something with a bucket, now."""
    del key  # permissions are a workspace's; a key changes nothing
    return await why(broker, caller, user=user, action=action, bucket=bucket)


@router.get("/transfers")
async def transfers_(broker: BrokerDep, caller: CallerDep) -> list[dict[str, Any]]:
    """What is being transferred now: one's own, in one's workspaces, and for admins all."""
    return await transfers(broker, caller)
