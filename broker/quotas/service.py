"""Setting limits, and telling usage beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker
from broker.errors import denied, invalid
from broker.policy import Caller
from broker.quotas.levels import Level, in_force, limits_by_id, over, pick, quota_json, visible
from broker.quotas.models import Limit
from broker.roots.find import find_root
from broker.times import duration_ms, now_ms
from broker.users.find import find_user
from broker.workspaces.find import find_workspace

LARGEST = 1 << 53


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be set; None leaves a part as it is. `soft` is a percentage, `grace` and `until` durations."""

    level: str
    subject: str | None = None
    root: str | None = None
    default: bool = False
    bytes: int | None = None
    objects: int | None = None
    soft: int | None = None
    grace: str | None = None
    temporary: str | None = None
    none: bool = False


async def set_quota(broker: Broker, caller: Caller, wanted: Wanted) -> dict[str, Any]:
    """Sets or removes a limit; it binds from the next request on.

    Admins set any; managers of a root its own and its users' there; holders of own a workspace's, within
    what an admin (or a default) gave. Raises ApiError (403) beyond that.
    """
    async with broker.change(caller) as unit:
        session = unit.session
        if wanted.default:
            level, admin = await _default(session, caller, wanted), True
        else:
            level, admin = await pick(session, caller, wanted.level, wanted.subject, wanted.root)
        cap: Limit | None = None
        workspace_id = owner = None
        if level.unit.startswith("w:") and not wanted.default:
            found = await find_workspace(session, caller, wanted.subject or "", manage=True)
            workspace_id, owner = found.row.id, found.row.owner_id
            limits = await limits_by_id(session, [level])
            cap = None if admin else in_force(level, limits)
        elif not admin:
            raise denied("Only an admin, or for a root its managers, may set that limit.")
        row = await session.get(Limit, level.limits[0])
        if wanted.none:
            row = await _remove(session, row, admin=admin)
        else:
            if row is None:
                row = Limit(id=level.limits[0], set_by="", set_at=0)
                session.add(row)
            _set(row, wanted, unit.now)
            if admin:
                row.granted = {"bytes": row.bytes, "objects": row.objects}
            elif cap is not None:
                _check_within(row, cap, unit.now)
        if row is not None:
            row.set_by, row.set_at = caller.user or "", unit.now
        unit.touch("limit", level.limits[0])
        unit.note(
            "quota.set", workspace=workspace_id, owner=owner, limit=level.limits[0], removed=wanted.none,
            bytes=wanted.bytes, objects=wanted.objects, soft=wanted.soft, temporary=wanted.temporary,
        )  # fmt: skip
        await session.flush()
        limit = in_force(level, await limits_by_id(session, [level]))
    usage = {} if wanted.default else (await broker.live.usage([level.unit]))[0]
    return quota_json(level, limit, usage, now_ms())


async def _default(session: AsyncSession, caller: Caller, wanted: Wanted) -> Level:
    """The level that a default stands for. Admins; for one root its managers."""
    admin = isinstance(policy.may_administer(caller), policy.Allowed)
    limit_id = {"workspace": "w:*", "user": "u:*", "user-root": "ur:*:*", "root": "r:*"}.get(wanted.level)
    if limit_id is None:
        raise invalid("The level is workspace, user, user-root or root.")
    subject = "*"
    if wanted.level == "workspace" and wanted.subject:
        user = await find_user(session, wanted.subject)
        limit_id, subject = f"w:@{user.id}", f"{user.handle}.*"
    elif wanted.level == "user-root" and wanted.root:
        root = await find_root(session, wanted.root)
        limit_id, subject = f"ur:*:{root.id}", f"* {root.name}"
        admin = admin or (await pick(session, caller, "root", root.id, None))[1]
    elif wanted.subject:
        raise invalid("A default has no subject here.")
    if not admin:
        raise denied("Only an admin may set defaults.")
    return Level(wanted.level, subject, limit_id, (limit_id,))


def _set(row: Limit, wanted: Wanted, now: int) -> None:
    for size in (wanted.bytes, wanted.objects):
        if size is not None and not 0 <= size <= LARGEST:
            raise invalid("A limit is 0 or more, and below 2^53.")
    if wanted.temporary is not None:
        if wanted.bytes is None and wanted.objects is None:
            raise invalid("Say which limit holds meanwhile.")
        until = now + duration_ms(wanted.temporary)
        row.raised = {"bytes": wanted.bytes, "objects": wanted.objects, "until_ms": until}
    else:
        row.bytes = row.bytes if wanted.bytes is None else wanted.bytes
        row.objects = row.objects if wanted.objects is None else wanted.objects
        row.raised = None
    if wanted.soft is not None:
        if not 0 < wanted.soft <= 100:
            raise invalid("A soft limit is 1 to 100 percent of the limit.")
        row.soft_bytes = None if row.bytes is None else row.bytes * wanted.soft // 100
        row.soft_objects = None if row.objects is None else row.objects * wanted.soft // 100
        if row.soft_bytes is None and row.soft_objects is None:
            raise invalid("A soft limit needs a limit that it is a part of.")
    if wanted.grace is not None:
        row.grace_ms = duration_ms(wanted.grace)


def _check_within(row: Limit, cap: Limit, now: int) -> None:
    """Raises ApiError when the limit is wider than what was given: by an admin, else by the default in force."""
    given = cap.granted if cap.granted is not None else {"bytes": cap.bytes, "objects": cap.objects}
    if cap.id == row.id and cap.granted is None:
        return
    raised = row.raised if row.raised and row.raised["until_ms"] > now else {}
    for word in ("bytes", "objects"):
        most = given.get(word)
        for value in (getattr(row, word), raised.get(word)):
            if most is not None and value is not None and value > most:
                raise denied(f"You may set at most {most} {word} there; an admin can give more.")
        if most is not None and getattr(row, word) is None:
            setattr(row, word, most)
    if row.granted is None and cap.id != row.id:
        row.granted = {"bytes": given.get("bytes"), "objects": given.get("objects")}


async def _remove(session: AsyncSession, row: Limit | None, *, admin: bool) -> Limit | None:
    if row is None:
        return None
    if not admin and row.granted is not None:
        row.bytes, row.objects = row.granted.get("bytes"), row.granted.get("objects")
        row.soft_bytes = row.soft_objects = row.grace_ms = row.raised = None
        return row
    await session.delete(row)
    return None


async def list_quotas(
    broker: Broker,
    caller: Caller,
    *,
    level: str | None,
    subject: str | None,
    root: str | None,
    everything: bool,
    percent: int | None,
    limit: int,
) -> list[dict[str, Any]]:
    """One level, the caller's own, or (`everything`) all they may see; `percent`: only those above it."""
    async with broker.db.read() as session:
        if level is not None:
            levels = [(await pick(session, caller, level, subject, root))[0]]
        else:
            levels = await visible(session, caller, everything=everything, limit=limit)
        limits = await limits_by_id(session, levels)
    usage = await broker.live.usage([one.unit for one in levels])
    now = now_ms()
    rows = [
        quota_json(one, in_force(one, limits), used, now) for one, used in zip(levels, usage, strict=True)
    ]
    return [row for row in rows if percent is None or over(row, percent)]
