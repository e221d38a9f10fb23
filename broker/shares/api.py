"""Routes of shares."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from broker.policy import PERMISSIONS
from broker.shares.service import create_share, list_shares, revoke_share, share_of_pair, update_share
from broker.web import After, Body, BrokerDep, CallerDep, Limit, Permission, Text, permission_number

router = APIRouter(prefix="/shares", tags=["shares"])


class ShareIn(Body):
    workspace: Text
    principal: Text
    permission: Permission
    expires: Text | None = None


class ShareChange(Body):
    permission: Permission | None = None
    expires: Text | None = None


@router.post("", status_code=201)
async def create(body: ShareIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Share with a user, group:NAME or everyone; on an existing pair, update. Needs own."""
    return await create_share(
        broker, caller, workspace=body.workspace, principal=body.principal,
        permission=PERMISSIONS[body.permission], expires=body.expires,
    )  # fmt: skip


@router.get("")
async def list_(
    broker: BrokerDep, caller: CallerDep, workspace: str | None = None, limit: Limit = 1000, after: After = ""
) -> list[dict[str, Any]]:
    """Shares of one workspace, or all that one gave, received or manages."""
    return await list_shares(broker, caller, workspace, limit, after)


@router.patch("/{share}")
async def update(share: str, body: ShareChange, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Change permission or expiry (`never` takes it off); what is taken away is revoked."""
    return await update_share(
        broker, caller, share, permission=permission_number(body.permission), expires=body.expires
    )


@router.delete("/{share}")
async def revoke(share: str, broker: BrokerDep, caller: CallerDep, dry_run: bool = False) -> dict[str, Any]:
    """Revoke a share with everything below it; `dry_run` only tells what would end."""
    return await revoke_share(broker, caller, share, dry_run=dry_run)


@router.delete("")
async def revoke_pair(
    workspace: str, principal: str, broker: BrokerDep, caller: CallerDep, dry_run: bool = False
) -> dict[str, Any]:
    """The same, named by workspace and principal."""
    share = await share_of_pair(broker, caller, workspace, principal)
    return await revoke_share(broker, caller, share, dry_run=dry_run)
