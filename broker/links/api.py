"""Routes of links."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from broker.links.service import create_link, end_link, list_links
from broker.web import After, Body, BrokerDep, CallerDep, Limit, Long, Text

router = APIRouter(prefix="/links", tags=["links"])


class LinkIn(Body):
    workspace: Text
    key: Long = ""
    mode: Annotated[str, StringConstraints(pattern="^(read|upload)$")] = "read"
    expires: Text | None = None
    name: Text | None = None
    password: Text | None = None
    max_downloads: Annotated[int, Field(ge=1, le=1 << 40)] | None = None
    max_bytes: Annotated[int, Field(ge=1, le=1 << 53)] | None = None


@router.post("", status_code=201)
async def create(body: LinkIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Make a link for strangers to one object or folder, to read or to drop files. Needs own."""
    fields = body.model_dump()
    return await create_link(broker, caller, **{**fields, "name": fields["name"] or ""})


@router.get("")
async def list_(
    broker: BrokerDep, caller: CallerDep, workspace: str | None = None, limit: Limit = 1000, after: After = ""
) -> list[dict[str, Any]]:
    """One's links, and those into workspaces that one manages."""
    return await list_links(broker, caller, workspace, limit, after)


@router.delete("/{link}")
async def revoke(link: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """End a link. Its maker, and whoever manages the workspace."""
    return await end_link(broker, caller, link)
