"""Links for strangers: a credential of the maker's, for one key or folder, without a signature.

The token in the URL is `<access key id>.<secret>`; the proxy finds the credential by the first part and
compares the second with the sealed secret. A link lives as long as its maker may share the workspace.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from sqlalchemy import ColumnElement, and_, false, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker, revoked
from broker.errors import denied, invalid, not_found
from broker.keys.models import Credential
from broker.keys.service import check_room, inheritance, kill_credentials, mint, open_secret
from broker.passwords import hash_password
from broker.policy import Caller, Scope
from broker.shares.principals import principals
from broker.times import moment_ms, now_ms, rfc3339
from broker.workspaces.find import Found, by_id, find_workspace, load_many, reach
from broker.workspaces.models import Workspace
from quota import LiveStateError

MAX_KEY_BYTES = 1024


async def create_link(
    broker: Broker,
    caller: Caller,
    *,
    workspace: str,
    key: str,
    mode: str = "read",
    expires: str | None = None,
    name: str = "",
    password: str | None = None,
    max_downloads: int | None = None,
    max_bytes: int | None = None,
) -> dict[str, Any]:
    """A link to `key`, a folder when it ends in `/` or is empty; needs own. A drop box (`upload`) is a folder."""
    if len(key.encode()) > MAX_KEY_BYTES or any(part in (".", "..") for part in key.split("/")):
        raise invalid("That key cannot be linked.")
    if mode == "upload" and key and not key.endswith("/"):
        raise invalid("A drop box is a folder: end the key with a slash.")
    if mode == "read" and max_bytes is not None:
        raise invalid("max_bytes is for upload links.")
    if mode == "upload" and max_downloads is not None:
        raise invalid("max_downloads is for read links.")
    hashed = None if password is None else await hash_password(password)
    async with broker.change(caller) as unit:
        found = await find_workspace(unit.session, caller, workspace)
        if policy.effective(caller, found.row.id, found.permission) < policy.OWN or caller.user is None:
            raise denied(f"A link needs the permission own on {found.bucket}.")
        await check_room(unit.session, caller.user, "link", unit.now)
        scope = policy.narrow(
            caller.scope,
            Scope(
                frozenset({found.row.id}), policy.READ if mode == "read" else policy.READWRITE,
                moment_ms(expires, unit.now),
            ),
        )  # fmt: skip
        if isinstance(scope, policy.Denied):
            raise denied(scope.reason)
        made = await mint(
            unit, broker.sealer, kind="link", user_id=caller.user, scope=scope, name=name,
            parents=inheritance(caller),
            link={
                "workspace": found.row.id, "key": key, "mode": mode, "max_downloads": max_downloads,
                "max_bytes": max_bytes, "password": hashed,
            },
        )  # fmt: skip
        unit.note(
            "link.create",
            workspace=found.row.id,
            owner=found.row.owner_id,
            link=made.row.id,
            key=key,
            mode=mode,
        )
        return await link_json(broker, unit.session, caller, made.row)


async def list_links(
    broker: Broker, caller: Caller, workspace: str | None, limit: int, after: str
) -> list[dict[str, Any]]:
    """The caller's links, and all links of the workspaces they manage."""
    async with broker.db.read() as session:
        query = select(Credential).where(
            Credential.kind == "link", Credential.deleted_at.is_(None), Credential.id > after
        )
        if workspace is not None:
            found = await find_workspace(session, caller, workspace)
            query = query.where(Credential.link_workspace == found.row.id)
        theirs = await _may_end(session, caller)
        query = query.outerjoin(Workspace, Workspace.id == Credential.link_workspace).where(theirs)
        rows = list(await session.scalars(query.order_by(Credential.id).limit(limit)))
        places = await load_many(session, caller, {row.link_workspace or "" for row in rows})
    used = await _downloads(broker, rows)
    return [
        _shown(broker, caller, row, places.get(row.link_workspace or ""), count)
        for row, count in zip(rows, used, strict=True)
    ]


async def _may_end(session: AsyncSession, caller: Caller) -> ColumnElement[bool]:
    """Whether the caller may see and end a link: its maker, or whoever manages the workspace.

    A condition on the link's row and its workspace's, which may be gone.
    """
    scope = caller.scope
    if scope.permission is not None and scope.permission < policy.OWN:
        return false()
    if isinstance(policy.may_administer(caller), policy.Allowed):
        managed: ColumnElement[bool] = Workspace.id.is_not(None)
    else:
        managed = reach(caller, await principals(session, caller), policy.OWN, now_ms())
    theirs = or_(Credential.user_id == caller.user, managed)
    if scope.workspaces is None:
        return theirs
    return and_(Credential.link_workspace.in_(sorted(scope.workspaces)), theirs)


async def _downloads(broker: Broker, rows: list[Credential]) -> list[int]:
    """How often each was fetched, as the live state counts; 0 where it cannot be asked (SQL knows nearly as much)."""
    try:
        return await broker.live.link_downloads([row.id for row in rows])
    except LiveStateError:
        return [0] * len(rows)


async def link_json(
    broker: Broker, session: AsyncSession, caller: Caller, row: Credential, used: int = 0
) -> dict[str, Any]:
    """A link as the API shows it; its URL, which is the power to use it, only to its maker."""
    return _shown(broker, caller, row, await by_id(session, caller, row.link_workspace or ""), used)


def _shown(broker: Broker, caller: Caller, row: Credential, found: Found | None, used: int) -> dict[str, Any]:
    link = row.link or {}
    url = None
    if row.user_id == caller.user:
        token = f"{row.id}.{open_secret(broker.sealer, row)}"
        last = link["key"].rstrip("/").rpartition("/")[2] or (found.name if found else "files")
        url = f"{broker.settings.public_url.rstrip('/')}/-/l/{token}/{quote(last)}"
        if link["key"].endswith("/") or not link["key"]:
            url += "/"
    return {
        "id": row.id,
        "url": url,
        "name": row.name,
        "workspace": found.bucket if found else row.link_workspace,
        "key": link.get("key"),
        "mode": link.get("mode"),
        "created_at": rfc3339(row.created_at),
        "expires_at": rfc3339(row.expires_at),
        "downloads": max(used, link.get("downloads") or 0),
        "max_downloads": link.get("max_downloads"),
        "max_bytes": link.get("max_bytes"),
        "has_password": link.get("password") is not None,
        "state": "expired" if row.expires_at is not None and row.expires_at <= now_ms() else "active",
    }


async def end_link(broker: Broker, caller: Caller, link_id: str) -> dict[str, Any]:
    """Ends a link and cuts its transfers. Raises ApiError (404) for one that the caller may not end."""
    async with broker.change(caller) as unit:
        row = await unit.session.scalar(
            select(Credential)
            .outerjoin(Workspace, Workspace.id == Credential.link_workspace)
            .where(
                Credential.id == link_id,
                Credential.kind == "link",
                Credential.deleted_at.is_(None),
                await _may_end(unit.session, caller),
            )
        )
        if row is None:
            raise not_found("link", link_id)
        await kill_credentials(unit, [row])
        unit.note("link.revoke", workspace=row.link_workspace, link=row.id)
    return revoked(unit, [link_id])
