"""The four levels: which usage is counted for a subject, which limits may bind it, in which order.

The order is the scripts' (`quota/lua/lib/room.lua`): the subject's own limit first, then the defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.errors import denied, invalid
from broker.policy import Caller
from broker.quotas.models import Limit
from broker.roots.find import find_root, root_view, root_views
from broker.roots.models import Root
from broker.times import rfc3339
from broker.users.find import find_user
from broker.users.models import User
from broker.workspaces.find import Found, find_workspace
from broker.workspaces.listing import list_workspaces
from broker.workspaces.models import Workspace

LEVELS = ("workspace", "user", "user-root", "root")


@dataclass(frozen=True, slots=True)
class Level:
    """One subject at one level. `unit` is its usage in the live state, `limits` the ids that may bind it."""

    level: str
    subject: str
    unit: str
    limits: tuple[str, ...]


def workspace_level(bucket: str, workspace: Workspace) -> Level:
    """A workspace's own level."""
    unit = f"w:{workspace.id}"
    return Level("workspace", bucket, unit, (unit, f"w:@{workspace.owner_id}", "w:*"))


def user_level(user: User) -> Level:
    """All that a user owns."""
    return Level("user", user.handle, f"u:{user.id}", (f"u:{user.id}", "u:*"))


def user_root_level(user: User, root: Root) -> Level:
    """What a user owns in one root."""
    unit = f"ur:{user.id}:{root.id}"
    return Level("user-root", f"{user.handle} {root.name}", unit, (unit, f"ur:*:{root.id}", "ur:*:*"))


def root_level(root: Root) -> Level:
    """All that lies in a root."""
    return Level("root", root.name, f"r:{root.id}", (f"r:{root.id}", "r:*"))


async def pick(
    session: AsyncSession, caller: Caller, level: str, subject: str | None, root: str | None
) -> tuple[Level, bool]:
    """The level that was named, and whether the caller may administer its limit. Raises ApiError."""
    if level not in LEVELS:
        raise invalid("The level is workspace, user, user-root or root.")
    if subject is None:
        raise invalid(f"Name the {level.removesuffix('-root')}.")
    admin = isinstance(policy.may_administer(caller), policy.Allowed)
    if level == "workspace":
        found = await find_workspace(session, caller, subject)
        return workspace_level(found.bucket, found.row), admin
    if level == "root":
        row = await find_root(session, subject)
        return root_level(row), await _manages(session, caller, row)
    user = await find_user(session, subject)
    if level == "user":
        if isinstance(no := policy.may_act_for(caller, user.id), policy.Denied):
            raise denied(no.reason)
        return user_level(user), admin
    if root is None:
        raise invalid("Name the root as well.")
    row = await find_root(session, root)
    manages = await _manages(session, caller, row)
    if not manages and isinstance(no := policy.may_act_for(caller, user.id), policy.Denied):
        raise denied(no.reason)
    return user_root_level(user, row), manages


async def _manages(session: AsyncSession, caller: Caller, root: Root) -> bool:
    decision = policy.may_manage_root(caller, await root_view(session, root))
    return isinstance(decision, policy.Allowed)


async def visible(session: AsyncSession, caller: Caller, *, everything: bool, limit: int) -> list[Level]:
    """The caller's own levels; `everything`: all that they may see (for admins, all there is)."""
    admin = isinstance(policy.may_administer(caller), policy.Allowed)
    users: list[User] = []
    if everything and admin:
        found_users = select(User).where(User.deleted_at.is_(None)).order_by(User.handle).limit(limit)
        users = list(await session.scalars(found_users))
    elif caller.user is not None and caller.scope.workspaces is None:
        users = [await session.get_one(User, caller.user)]
    levels = [user_level(user) for user in users]
    mine = await list_workspaces(
        session, caller, everything=everything and admin, limit=limit, after="", owned=not everything
    )
    levels += [workspace_level(one.bucket, one.row) for one in mine]
    levels += _user_roots(users, mine)
    if everything:
        roots = list(await session.scalars(select(Root).order_by(Root.name)))
        views = await root_views(session)
        levels += [
            root_level(root)
            for root in roots
            if isinstance(policy.may_manage_root(caller, views(root)), policy.Allowed)
        ]
    return levels[:limit]


def _user_roots(users: Iterable[User], found: Iterable[Found]) -> list[Level]:
    by_id = {user.id: user for user in users}
    pairs = {(one.row.owner_id, one.root.id): one.root for one in found if one.row.owner_id in by_id}
    return [
        user_root_level(by_id[owner], root) for (owner, _), root in sorted(pairs.items(), key=lambda p: p[0])
    ]


async def limits_by_id(session: AsyncSession, levels: Iterable[Level]) -> dict[str, Limit]:
    """Every limit that may bind one of the levels."""
    wanted = sorted({limit for level in levels for limit in level.limits})
    found: dict[str, Limit] = {}
    for start in range(0, len(wanted), 500):
        rows = await session.scalars(select(Limit).where(Limit.id.in_(wanted[start : start + 500])))
        found.update({row.id: row for row in rows})
    return found


def in_force(level: Level, limits: Mapping[str, Limit]) -> Limit | None:
    """The first limit that is set."""
    return next((limits[limit] for limit in level.limits if limit in limits), None)


def quota_json(level: Level, limit: Limit | None, usage: Mapping[str, int], now: int) -> dict[str, Any]:
    """One level as the API shows it (design, section 8)."""
    raised = limit.raised if limit is not None and limit.raised and limit.raised["until_ms"] > now else None
    shown: dict[str, Any] = {"level": level.level, "subject": level.subject}
    for word, short, part in (("bytes", "b", "mb"), ("objects", "o", None)):
        own = None if limit is None else getattr(limit, word)
        shown |= {
            f"used_{word}": usage.get(short, 0),
            f"held_{word}": usage.get("h" + short, 0),
            f"doubt_{word}": usage.get("d" + short, 0),
            **({f"multipart_{word}": usage.get(part, 0)} if part else {}),
            f"version_{word}": usage.get("v" + short, 0),
            f"limit_{word}": own if raised is None or raised.get(word) is None else raised[word],
            f"soft_limit_{word}": None if limit is None else getattr(limit, f"soft_{word}"),
        }
    # The live state notices that usage has fallen only at the next write that adds something.
    since = usage.get("gs", 0) if _is_over_soft(shown) else 0
    grace = limit.grace_ms if limit else None
    return shown | {
        "grace_ends_at": rfc3339(since + grace) if since and grace else None,
        "raised_until": rfc3339(raised["until_ms"]) if raised else None,
        "recounted_at": rfc3339(usage.get("rt") or None),
        "recount_pending": usage.get("rp", 0) > 0,
    }


def _is_over_soft(row: Mapping[str, Any]) -> bool:
    for word in ("bytes", "objects"):
        soft = row[f"soft_limit_{word}"]
        if soft is not None and row[f"used_{word}"] + row[f"held_{word}"] + row[f"doubt_{word}"] > soft:
            return True
    return False


def over(row: Mapping[str, Any], percent: int) -> bool:
    """Whether a shown level has passed `percent` of one of its limits, by what is charged."""
    for word in ("bytes", "objects"):
        limit = row[f"limit_{word}"]
        charged = row[f"used_{word}"] + row[f"held_{word}"] + row[f"doubt_{word}"]
        if limit is not None and charged * 100 > limit * percent:
            return True
    return False
