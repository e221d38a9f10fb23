"""Decisions about who may do what: pure, so any state can be tried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker import policy
from broker.policy import Allowed, Caller, Denied, RootView, Scope, ShareUnder, ShareView

NOW = 1_000
USERS = ("ann", "bob", "eve")
GROUPS = ("lab", "ops")
WORKSPACES = ("w1", "w2", "w3")
times = st.none() | st.integers(NOW - 5, NOW + 5)
permissions = st.integers(1, 3)
scopes = st.builds(
    Scope,
    st.none() | st.frozensets(st.sampled_from(WORKSPACES)),
    st.none() | permissions,
    st.none() | st.integers(NOW, NOW + 5),
)
callers = st.builds(
    Caller,
    user=st.sampled_from(USERS),
    handle=st.just("x"),
    admin=st.booleans(),
    groups=st.frozensets(st.sampled_from(GROUPS)),
    scope=scopes,
)
principals = st.sampled_from([f"u:{user}" for user in USERS] + [f"g:{group}" for group in GROUPS] + ["*"])


@st.composite
def trees(draw: st.DrawFn) -> list[ShareView]:
    """Shares of one workspace, each below an earlier one or at the top."""
    made: list[ShareView] = []
    for number, principal in enumerate(draw(st.lists(principals, unique=True, max_size=6))):
        parent = draw(st.none() | st.sampled_from(made)) if made else None
        chain = () if parent is None else (parent.id, *parent.chain)
        made.append(ShareView(f"s{number}", principal, draw(permissions), draw(times), chain))
    return made


@given(scopes, scopes)
def test_a_child_is_never_wider_or_longer_than_its_parent(parent: Scope, wanted: Scope) -> None:
    child = policy.narrow(parent, wanted)
    if isinstance(child, Denied):
        return
    for workspace in WORKSPACES:
        for permission in (1, 2, 3):
            if child.covers(workspace, permission):
                assert parent.covers(workspace, permission)
                assert wanted.covers(workspace, permission)
    for outer in (parent.expires, wanted.expires):
        assert outer is None or (child.expires is not None and child.expires <= outer)


@given(scopes)
def test_narrowing_by_nothing_changes_nothing(parent: Scope) -> None:
    assert policy.narrow(parent, Scope()) == parent


@given(callers, st.sampled_from(USERS), trees(), permissions, times)
def test_a_reshare_hangs_below_a_live_own_share_that_covers_it(
    caller: Caller, owner: str, shares: list[ShareView], permission: int, expires: int | None
) -> None:
    under = policy.may_share(caller, "w1", owner, shares, permission, expires, NOW)
    if isinstance(under, Denied):
        return
    assert caller.scope.covers("w1", 3)
    if under == ShareUnder(None):
        assert caller.user == owner or caller.admin
        return
    parent = next(share for share in shares if share.id == under.parent)
    assert parent.principal in caller.principals
    assert parent.permission == 3
    assert parent.is_live(NOW)
    assert policy.within(permission, expires, parent.permission, parent.expires)


@given(callers, st.sampled_from(USERS), trees())
def test_only_owner_admin_or_somebody_above_touches_a_share(
    caller: Caller, owner: str, shares: list[ShareView]
) -> None:
    for target in shares:
        if isinstance(policy.may_touch_share(caller, "w1", owner, shares, target, NOW), Denied):
            continue
        assert caller.scope.covers("w1", 3)
        above = [
            share for share in shares if share.id in target.chain and share.principal in caller.principals
        ]
        assert caller.user == owner or caller.admin or any(share.permission == 3 for share in above)


@given(
    st.sampled_from(USERS),
    st.sampled_from(USERS),
    st.frozensets(st.sampled_from(GROUPS)),
    trees(),
    st.booleans(),
)
def test_permission_is_the_best_live_share_and_administration_gives_none(
    owner: str, user: str, groups: frozenset[str], shares: list[ShareView], public: bool
) -> None:
    have = policy.permission_on(owner, user, groups, shares, NOW, public=public)
    if user == owner:
        assert have == 3
        return
    named = policy.principals_of(user, groups)
    live = [
        share.permission for share in shares if share.principal in named and (share.expires or NOW + 1) > NOW
    ]
    assert have == max([int(public), *live])


@given(callers, st.sampled_from(WORKSPACES), st.integers(0, 3))
def test_a_narrowed_credential_never_administers(caller: Caller, workspace: str, permission: int) -> None:
    if caller.scope.is_whole:
        return
    root = RootView("private", caller.user or "", frozenset({"*"}), frozenset({"*"}))
    for decision in (
        policy.may_administer(caller), policy.may_act_on_account(caller), policy.may_act_for(caller, "ann"),
        policy.may_manage_root(caller, root), policy.may_create_in_root(caller, root),
    ):  # fmt: skip
        assert isinstance(decision, Denied)
    if isinstance(policy.may_manage_workspace(caller, workspace, permission), Allowed):
        assert permission == 3
        assert caller.scope.covers(workspace, 3)


def test_unmanaged_roots_are_their_managers() -> None:
    bob = Caller("bob", "bob", groups=frozenset({"lab"}))
    root = RootView("unmanaged", "ann", frozenset({"*"}), frozenset())
    assert isinstance(policy.may_create_in_root(bob, root), Denied)
    managed = RootView("unmanaged", "ann", frozenset(), frozenset({"g:lab"}))
    assert policy.may_create_in_root(bob, managed) == Allowed()
    assert policy.may_create_for(bob, "eve", managed) == Allowed()
    assert isinstance(
        policy.may_create_for(bob, "eve", RootView("private", "ann", frozenset({"*"}), frozenset({"g:lab"}))),
        Denied,
    )
