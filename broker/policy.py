"""Who may do what: pure decisions on frozen values. No SQL, no clock, no I/O; the caller passes `now`.

A decision is `Allowed` or `Denied(reason)`. Order of the questions, everywhere: is the credential itself
wide enough (scope), then is the user (ownership, shares, administration). Admins manage everything and
read no data without a share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

READ: Final = 1
READWRITE: Final = 2
OWN: Final = 3
#: Permissions as people write them.
PERMISSIONS: Final[Mapping[str, int]] = {"read": READ, "readwrite": READWRITE, "own": OWN}
WORDS: Final[Mapping[int, str]] = {number: word for word, number in PERMISSIONS.items()}
EVERYONE: Final = "*"


@dataclass(frozen=True, slots=True)
class Denied:
    """No, and why, in one sentence for the person who asked."""

    reason: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """Yes."""


Decision = Allowed | Denied
_YES: Final = Allowed()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a credential is narrowed to: some workspaces (ids), at most a permission, until a time (ms).

    None means not narrowed. An empty set of workspaces is a scope too: nothing.
    """

    workspaces: frozenset[str] | None = None
    permission: int | None = None
    expires: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it reaches everything its user does (expiry aside)."""
        return self.workspaces is None and self.permission in (None, OWN)

    def covers(self, workspace: str, permission: int) -> bool:
        """Whether the scope itself lets `permission` on `workspace` pass."""
        inside = self.workspaces is None or workspace in self.workspaces
        return inside and (self.permission is None or self.permission >= permission)


WHOLE: Final = Scope()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and through which credential. `parents` are the credential's ancestors."""

    user: str | None
    handle: str
    admin: bool = False
    groups: frozenset[str] = frozenset()
    credential: str | None = None
    kind: str = "system"
    scope: Scope = field(default=WHOLE)
    parents: tuple[str, ...] = ()

    @property
    def principals(self) -> frozenset[str]:
        """Every principal that a share to this caller may name."""
        return principals_of(self.user, self.groups)


#: The broker itself: bootstrap, expiry, and the journal.
SYSTEM: Final = Caller(user=None, handle="system", admin=True)


def principals_of(user: str | None, groups: Iterable[str]) -> frozenset[str]:
    """`u:USER`, `g:GROUP`… and everyone."""
    named = {f"u:{user}"} if user else set()
    return frozenset(named | {f"g:{group}" for group in groups} | {EVERYONE})


@dataclass(frozen=True, slots=True)
class ShareView:
    """A share as decisions see it; `chain` are its ancestors, nearest first."""

    id: str
    principal: str
    permission: int
    expires: int | None
    chain: tuple[str, ...] = ()

    def is_live(self, now: int) -> bool:
        """Whether it has not expired at `now`."""
        return self.expires is None or self.expires > now


def permission_on(
    owner: str,
    user: str | None,
    groups: Iterable[str],
    shares: Iterable[ShareView],
    now: int,
    *,
    public: bool,
) -> int:
    """The user's permission on a workspace: 0 none, 1 read, 2 readwrite, 3 own. Administration gives none."""
    if user is not None and user == owner:
        return OWN
    names = principals_of(user, groups)
    live = [share.permission for share in shares if share.principal in names and share.is_live(now)]
    return max([READ if public else 0, *live])


def effective(caller: Caller, workspace: str, permission: int) -> int:
    """`permission` of the caller's user on `workspace`, narrowed by the caller's credential."""
    scope = caller.scope
    if scope.workspaces is not None and workspace not in scope.workspaces:
        return 0
    return permission if scope.permission is None else min(permission, scope.permission)


def may_act_on_account(caller: Caller) -> Decision:
    """Keys, tokens, groups, nodes and the like need a credential that is not narrowed."""
    if caller.scope.is_whole:
        return _YES
    return Denied("This credential is scoped to some workspaces or permissions and cannot do that.")


def may_administer(caller: Caller) -> Decision:
    """Users, groups, global limits, the whole audit trail: admins with a whole credential."""
    if isinstance(narrowed := may_act_on_account(caller), Denied):
        return narrowed
    return _YES if caller.admin else Denied("Only an admin may do that.")


def may_act_for(caller: Caller, user: str) -> Decision:
    """On things of one user: that user or an admin."""
    if isinstance(narrowed := may_act_on_account(caller), Denied):
        return narrowed
    if caller.admin or (caller.user is not None and caller.user == user):
        return _YES
    return Denied("Only its user or an admin may do that.")


def may_manage_workspace(caller: Caller, workspace: str, permission: int) -> Decision:
    """Rename, alias, delete, set limits: own on the workspace, or an admin. `permission` is the user's."""
    if effective(caller, workspace, permission) >= OWN:
        return _YES
    if isinstance(may_administer(caller), Allowed):
        return _YES
    return Denied("That needs the permission own on the workspace.")


def may_see_workspace(caller: Caller, workspace: str, permission: int) -> Decision:
    """Its existence and settings: any permission, or an admin."""
    if effective(caller, workspace, permission) >= READ or isinstance(may_administer(caller), Allowed):
        return _YES
    return Denied("No permission on the workspace.")


@dataclass(frozen=True, slots=True)
class RootView:
    """A root as decisions see it; the grants are sets of principals."""

    kind: str
    created_by: str
    creators: frozenset[str]
    managers: frozenset[str]


def may_manage_root(caller: Caller, root: RootView) -> Decision:
    """Its creator, its named managers, and admins."""
    if isinstance(narrowed := may_act_on_account(caller), Denied):
        return narrowed
    if caller.admin or caller.user == root.created_by or caller.principals & root.managers:
        return _YES
    return Denied("Only a manager of the root may do that.")


def may_create_in_root(caller: Caller, root: RootView) -> Decision:
    """Managed roots: whoever is granted create. Unmanaged roots, which map existing data: managers only."""
    if isinstance(may_manage_root(caller, root), Allowed):
        return _YES
    if isinstance(narrowed := may_act_on_account(caller), Denied):
        return narrowed
    if root.kind == "unmanaged":
        return Denied("Only a manager of an unmanaged root may make workspaces in it.")
    return _YES if caller.principals & root.creators else Denied("You may not make workspaces in this root.")


def may_create_for(caller: Caller, owner: str, root: RootView) -> Decision:
    """Workspaces that somebody else will own: admins anywhere, managers in their unmanaged roots."""
    if caller.user == owner or isinstance(may_administer(caller), Allowed):
        return _YES
    if root.kind == "unmanaged" and isinstance(may_manage_root(caller, root), Allowed):
        return _YES
    return Denied("Only an admin, or a manager of an unmanaged root, makes workspaces for others.")


def within(permission: int, expires: int | None, limit: int, limit_expires: int | None) -> bool:
    """Whether a child's permission and expiry stay within its parent's."""
    in_time = limit_expires is None or (expires is not None and expires <= limit_expires)
    return permission <= limit and in_time


@dataclass(frozen=True, slots=True)
class ShareUnder:
    """A new share may be made; it hangs under `parent` (None: the owner's own, or an admin's)."""

    parent: str | None


def may_share(
    caller: Caller,
    workspace: str,
    owner: str,
    shares: Iterable[ShareView],
    permission: int,
    expires: int | None,
    now: int,
) -> ShareUnder | Denied:
    """Whether the caller may give `permission` until `expires`, and under which share it then hangs.

    Owner and admins give freely. A holder of own gives what one share that they hold covers; the
    widest and longest one is taken, so that the reshare lives as long as it can.
    """
    if effective(caller, workspace, OWN) < OWN:
        return Denied("This credential's scope does not include sharing that workspace.")
    if caller.user == owner or isinstance(may_administer(caller), Allowed):
        return ShareUnder(None)
    held = [
        share
        for share in shares
        if share.principal in caller.principals and share.permission >= OWN and share.is_live(now)
    ]
    if not held:
        return Denied("Sharing needs the permission own on the workspace.")
    covering = [share for share in held if within(permission, expires, share.permission, share.expires)]
    if not covering:
        return Denied("A reshare cannot outlast the share it comes from; give an earlier expiry.")
    best = max(covering, key=lambda share: (share.expires is None, share.expires or 0, -len(share.chain)))
    return ShareUnder(best.id)


def may_touch_share(
    caller: Caller, workspace: str, owner: str, shares: Iterable[ShareView], target: ShareView, now: int
) -> Decision:
    """Change or revoke `target`: owner and admins any; a resharer only those that hang below their own.

    Anybody may give up what was shared with them by name.
    """
    if effective(caller, workspace, OWN) < OWN:
        return Denied("This credential's scope does not include sharing that workspace.")
    if caller.user == owner or isinstance(may_administer(caller), Allowed):
        return _YES
    mine = {
        share.id
        for share in shares
        if share.principal in caller.principals and share.permission >= OWN and share.is_live(now)
    }
    if mine & set(target.chain):
        return _YES
    return Denied("You may change only the shares that hang below your own.")


def may_give_up(caller: Caller, workspace: str, target: ShareView) -> Decision:
    """A share that names the caller's user may be revoked by that user, and by nobody else on this ground."""
    if caller.scope.covers(workspace, target.permission) and target.principal == f"u:{caller.user}":
        return _YES
    return Denied("That share is not yours.")


def narrow(parent: Scope, wanted: Scope) -> Scope | Denied:
    """The scope of a child credential: `wanted`, never wider or longer than `parent`.

    What was not asked for is inherited; what was asked for and lies outside is refused, except an expiry,
    which is cut to the parent's.
    """
    workspaces = wanted.workspaces
    if workspaces is None:
        workspaces = parent.workspaces
    elif parent.workspaces is not None and not workspaces <= parent.workspaces:
        return Denied("This credential's scope does not reach all of those workspaces.")
    permission = wanted.permission
    if permission is None:
        permission = parent.permission
    elif parent.permission is not None and permission > parent.permission:
        return Denied(f"This credential gives at most {WORDS[parent.permission]}.")
    ends = [time for time in (wanted.expires, parent.expires) if time is not None]
    return Scope(workspaces, permission, min(ends) if ends else None)
