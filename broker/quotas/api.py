"""Routes of quotas."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from broker.quotas.recount import recount
from broker.quotas.service import Wanted, list_quotas, set_quota
from broker.web import Body, BrokerDep, CallerDep, Limit, Text
from broker.workspaces.find import find_workspace

router = APIRouter(prefix="/quotas", tags=["quotas"])


class QuotaIn(Body):
    level: Text
    subject: Text | None = None
    root: Text | None = None
    default: bool = False
    bytes: int | None = None
    objects: int | None = None
    soft: int | None = None
    grace: Text | None = None
    temporary: Text | None = Field(default=None, alias="for")
    none: bool = False


class RecountIn(Body):
    workspace: Text


@router.put("")
async def set_(body: QuotaIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Set or remove the limit of a workspace, a user, a user on one root, or a root."""
    return await set_quota(broker, caller, Wanted(**body.model_dump()))


@router.get("")
async def list_(
    broker: BrokerDep,
    caller: CallerDep,
    level: str | None = None,
    subject: str | None = None,
    root: str | None = None,
    everything: Annotated[bool, Query(alias="all")] = False,
    over: Annotated[int | None, Query(ge=0, le=100)] = None,
    limit: Limit = 1000,
) -> list[dict[str, Any]]:
    """Usage and limits: of one level, one's own, or (`all`) of all that one may see; `over`: a percentage."""
    return await list_quotas(
        broker,
        caller,
        level=level,
        subject=subject,
        root=root,
        everything=everything,
        percent=over,
        limit=limit,
    )


@router.post("/recount")
async def recount_(body: RecountIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Count a workspace anew by listing it, while it is in use. Needs own."""
    async with broker.db.read() as session:
        found = await find_workspace(session, caller, body.workspace, manage=True)
    counted = await recount(broker, found.row.id)
    return {"workspace": found.bucket, **counted._asdict()}
