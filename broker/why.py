"""Why may somebody do something, or not? The live state's own decision, put into words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker
from broker.errors import ApiError, denied, invalid
from broker.policy import Caller
from broker.shares.models import Share
from broker.shares.principals import principal_text
from broker.times import rfc3339
from broker.users.find import find_user, user_named
from broker.users.models import User
from broker.workspaces.find import find_workspace
from quota import Denial

_WORDS = {
    "read": 1,
    "list": 1,
    "get": 1,
    "head": 1,
    "write": 2,
    "put": 2,
    "delete": 2,
    "copy": 2,
    "share": 3,
    "own": 3,
}
_OPERATIONS = (
    (("Get", "Head", "List", "Select", "Listen"), 1),
    (("Put", "Post", "Delete", "Copy", "Create", "Complete", "Abort", "Upload"), 2),
)

_OWNERS = frozenset({"DeleteBucket", "PutObjectLegalHold", "PutObjectRetention"})


def permission_for(action: str) -> int:
    """The permission (1 to 3) that an action or S3 operation needs. Raises ApiError for an unknown one."""
    word = action.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    operation = action.rsplit(":", 1)[-1]
    if operation in _OWNERS:
        return 3
    for heads, need in _OPERATIONS:
        if operation.startswith(heads):
            return need
    raise invalid(f"{action[:40]!r} is no action; use read, write, delete, list, share or an S3 operation.")


def adds(action: str) -> bool:
    """Whether the action may need room; deleting and sharing never do."""
    word = action.strip().lower()
    if word in _WORDS:
        return word in ("write", "put", "copy")
    operation = action.rsplit(":", 1)[-1]
    return permission_for(action) == 2 and not operation.startswith(("Delete", "Abort"))


async def why(broker: Broker, caller: Caller, *, user: str, action: str, bucket: str) -> dict[str, Any]:
    """The decision for `user` on `bucket` now. About others only their workspaces' managers and admins ask."""
    need = permission_for(action)
    async with broker.db.read() as session:
        who = await find_user(session, user)
        myself = who.id == caller.user
        full = bucket
        if "." not in bucket and not myself:
            # A plain name is the caller's own workspace: what they see when they type it.
            full = f"{caller.handle}.{bucket}"
        owner, _, name = full.rpartition(".")
        if owner and (named := await user_named(session, owner)) is not None:
            # The live state knows owners by their handles only.
            full = f"{named.handle}.{name}"
        if isinstance(policy.may_act_for(caller, who.id), policy.Denied):
            found = await find_workspace(session, caller, full)
            if not found.manages:
                raise denied("You may ask about yourself, and about others in workspaces that you own.")
    credential = caller.credential if myself and caller.credential else ""
    refused, seen = await broker.live.why(who.id, credential, full, need)
    if not adds(action):
        seen.pop("full", None)
    async with broker.db.read() as session:
        return await _told(session, refused, seen, need, credential)


async def _told(
    session: AsyncSession, refused: Denial | None, seen: dict[str, Any], need: int, credential: str
) -> dict[str, Any]:
    grant = seen.get("grant") or {}
    full = seen.get("full")
    share = await session.get(Share, grant["share"]) if grant.get("share") else None
    via = seen.get("via") or ""
    if refused is not None:
        reason = _REASONS.get(refused.code.value, refused.code.value)
        if refused.code.value == "AccessDenied":
            kind = refused.details[0] if refused.details else ""
            reason = _DENIALS.get(kind, "There is no such workspace, or no share on it.").format(
                need=policy.WORDS[need], have=policy.WORDS.get(int(seen.get("have") or 0), "nothing")
            )
    elif full:
        reason = f"The permission is there, but nothing fits any more: {' '.join(str(part) for part in full[1:4])}."
    elif via == "owner":
        reason = "The user owns the workspace."
    elif via == "public":
        reason = "Workspaces in public roots are readable by everyone."
    else:
        reason = (
            f"A share to {await principal_text(session, via)} gives {policy.WORDS[int(grant['permission'])]}."
        )
    return {
        "allowed": refused is None and not full,
        "reason": reason,
        "permission_needed": policy.WORDS[need],
        "share": share.id if share else None,
        "credential": credential or None,
        "limit": _limit(full),
        "expires_at": rfc3339(grant.get("expires")) if grant else None,
    }


def _limit(full: list[Any] | None) -> dict[str, Any] | None:
    if not full or full[1] != "QuotaExceeded":
        return None
    return {"level": full[2], "measure": full[4], "limit": int(full[5]), "charged": int(full[6])}


_REASONS = {
    "UserDisabled": "The user is disabled.",
    "NoSuchBucket": "There is no such workspace.",
    "Draining": "The workspace is being deleted.",
    "InvalidAccessKeyId": "The credential is not valid any more.",
    "ExpiredToken": "The session has ended.",
    "NotReady": "The live state is being rebuilt; for a moment nothing is allowed.",
}
_DENIALS = {
    "scope": "The credential's scope does not include that workspace.",
    "permission": "That needs {need}; the shares give {have}.",
    "credential": "That needs {need}, and this credential gives less.",
}


async def transfers(broker: Broker, caller: Caller) -> list[dict[str, Any]]:
    """What runs now: all for admins; else the caller's own and those in workspaces they manage."""
    running = await broker.live.transfers()
    admin = isinstance(policy.may_administer(caller), policy.Allowed)
    shown: list[dict[str, Any]] = []
    async with broker.db.read() as session:
        users = {str(transfer.get("user")) for transfer in running}
        named = await session.execute(select(User.id, User.handle).where(User.id.in_(users)))
        handles = {row.id: row.handle for row in named}
        managed: dict[str, bool] = {}
        for transfer in running:
            bucket = str(transfer.get("workspace", ""))
            if not admin and bucket and bucket not in managed:
                managed[bucket] = await _manages(session, caller, bucket)
            if admin or transfer.get("user") == caller.user or managed.get(bucket):
                known = handles.get(str(transfer.get("user")), transfer.get("user"))
                told = {name: value for name, value in transfer.items() if name != "chain"}
                shown.append({**told, "user": known, "started_at": _moment(transfer.get("started_at"))})
    return shown


def _moment(seconds: object) -> str | None:
    return rfc3339(int(seconds * 1000)) if isinstance(seconds, (int, float)) else None


async def _manages(session: AsyncSession, caller: Caller, bucket: str) -> bool:

    try:
        return (await find_workspace(session, caller, bucket)).manages
    except ApiError:
        return False
