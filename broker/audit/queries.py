"""Reading the audit trail: owners their workspaces' rows and their own doings, admins all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select

from broker import policy
from broker.audit.models import AuditRow
from broker.context import Broker
from broker.errors import denied
from broker.policy import Caller
from broker.times import rfc3339
from broker.workspaces.find import find_workspace
from broker.workspaces.models import Workspace


async def list_audit(
    broker: Broker, caller: Caller, *, workspace: str | None, limit: int, before: int | None
) -> list[dict[str, Any]]:
    """Rows, newest first; those of one workspace for its managers."""
    admin = isinstance(policy.may_administer(caller), policy.Allowed)
    async with broker.db.read() as session:
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditRow.id < before)
        if workspace is not None:
            found = await find_workspace(session, caller, workspace)
            if not found.manages:
                raise denied("Only the workspace's owners and admins read its audit trail.")
            query = query.where(AuditRow.workspace_id == found.row.id)
        elif not admin:
            if isinstance(no := policy.may_act_on_account(caller), policy.Denied):
                raise denied(no.reason)
            mine = select(Workspace.id).where(Workspace.owner_id == caller.user)
            query = query.where(
                or_(
                    AuditRow.user_id == caller.user,
                    AuditRow.owner_id == caller.user,
                    AuditRow.workspace_id.in_(mine),
                )
            )
        return [audit_json(row) for row in await session.scalars(query)]


async def verify_audit(broker: Broker, caller: Caller) -> dict[str, Any]:
    """Whether the whole chain holds; admins."""
    if isinstance(no := policy.may_administer(caller), policy.Denied):
        raise denied(no.reason)
    async with broker.db.read() as session:
        found = await broker.chain.verify(session)
    return {"ok": found.problem is None, "rows": found.rows, "problem": found.problem}


def audit_json(row: AuditRow) -> dict[str, Any]:
    """A row as the API shows it."""
    return {
        "id": row.id,
        "at": rfc3339(row.at),
        "user": row.user,
        "credential": row.credential,
        "action": row.action,
        "workspace": row.workspace_id,
        "detail": row.detail,
        "request_id": row.request_id,
    }
