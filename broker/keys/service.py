"""Credentials of every kind: made, found alive, killed with what descends from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker, Unit, revoked
from broker.errors import conflict, denied, invalid, not_found
from broker.keys.models import Credential
from broker.policy import Caller, Scope
from broker.times import now_ms, rfc3339
from quota import Sealer, new_access_key_id, new_secret
from quota.ids import ACCESS_KEY_PREFIX

Kind = Literal["key", "session", "link"]
_IMPORTED_ID = re.compile(r"[A-Za-z0-9_.-]{3,128}")
_IMPORTED_SECRET = re.compile(r"[\x21-\x7e]{8,256}")
#: Live credentials that one user may have at once, of each kind.
MAX_LIVE = 2000


def open_secret(sealer: Sealer, credential: Credential) -> str:
    """The secret access key. Raises SealError when the deployment's secret is another one."""
    return sealer.open(credential.secret, b"credential:" + credential.id.encode()).decode()


def is_live(credential: Credential, now: int) -> bool:
    """Whether it may be used by itself; its user and parents are asked about apart."""
    in_time = credential.expires_at is None or credential.expires_at > now
    return credential.deleted_at is None and credential.enabled and in_time


async def live_credentials(session: AsyncSession, user_id: str) -> list[Credential]:
    """The user's credentials that are not deleted, expired or not."""
    query = select(Credential).where(Credential.user_id == user_id, Credential.deleted_at.is_(None))
    return list(await session.scalars(query))


@dataclass(frozen=True, slots=True)
class Minted:
    """A new credential, and its secret: the only time that it is seen."""

    row: Credential
    secret: str


async def mint(
    unit: Unit,
    sealer: Sealer,
    *,
    kind: Kind,
    user_id: str,
    scope: Scope,
    parents: Iterable[str] = (),
    name: str = "",
    token_sha256: str | None = None,
    link: dict[str, Any] | None = None,
    given: tuple[str, str] | None = None,
    ours: bool = False,
) -> Minted:
    """Adds a credential to the change. `given` is an imported (access key id, secret); `ours` says that the
    deployment itself made them, so that they may look like ours.

    Raises ApiError (409) for an access key id that is, or ever was, in use, and (400) for a malformed one.
    """
    access_key_id, secret = given or (new_access_key_id(kind), new_secret())
    if given:
        if not ours:
            _check_given(*given)
        if await unit.session.get(Credential, access_key_id) is not None:
            raise conflict("That access key id is, or was, in use here; ids are never used again.")
    row = Credential(
        id=access_key_id, kind=kind, user_id=user_id, name=name[:255],
        secret=sealer.seal(secret.encode(), b"credential:" + access_key_id.encode()),
        token=token_sha256, parents=list(parents),
        workspaces=None if scope.workspaces is None else sorted(scope.workspaces),
        permission=scope.permission, expires_at=scope.expires, enabled=True,
        link=link, link_workspace=link["workspace"] if link else None, created_at=unit.now,
    )  # fmt: skip
    unit.session.add(row)
    unit.touch("credential", row.id)
    return Minted(row, secret)


def _check_given(access_key_id: str, secret: str) -> None:
    if not _IMPORTED_ID.fullmatch(access_key_id) or access_key_id.startswith(
        tuple(ACCESS_KEY_PREFIX.values())
    ):
        raise invalid(
            "An imported access key id has 3 to 128 letters, digits, dots, hyphens and underscores, "
            "and does not begin like ours (WIOA, WIOS, WIOL)."
        )
    if not _IMPORTED_SECRET.fullmatch(secret):
        raise invalid("An imported secret has 8 to 256 printable ASCII characters and no spaces.")


@dataclass(frozen=True, slots=True)
class Killed:
    """Ids of the credentials that a change ended."""

    keys: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


async def kill_credentials(unit: Unit, credentials: Iterable[Credential]) -> Killed:
    """Ends the credentials for good, with everything that descends from them."""
    doomed = {credential.id: credential for credential in credentials}
    for user_id in {credential.user_id for credential in doomed.values()}:
        for other in await live_credentials(unit.session, user_id):
            if doomed.keys() & set(other.parents):
                doomed[other.id] = other
    for credential in doomed.values():
        # The row stays so that the id is never used again; what could be misused of it goes.
        credential.deleted_at, credential.enabled, credential.secret = unit.now, False, ""
        credential.token = None
        unit.touch("credential", credential.id)
        unit.revoke(f"c:{credential.id}")
        if credential.kind == "link":
            unit.revoke(f"l:{credential.id}")
    return Killed(
        *(
            tuple(sorted(row.id for row in doomed.values() if row.kind == kind))
            for kind in ("key", "session", "link")
        )
    )


def inheritance(caller: Caller) -> tuple[str, ...]:
    """The parents of a credential that the caller makes for themselves.

    A whole, unending key makes independent ones; a narrowed or ending one stays their parent, so that
    nothing outlives or outgrows what it came from.
    """
    if caller.credential is None or (caller.scope.is_whole and caller.scope.expires is None):
        return ()
    return (caller.credential, *caller.parents)


async def check_room(session: AsyncSession, user_id: str, kind: Kind, now: int) -> None:
    """Raises ApiError (409) when the user has too many live credentials of the kind."""
    found = [c for c in await live_credentials(session, user_id) if c.kind == kind and is_live(c, now)]
    if len(found) >= MAX_LIVE:
        raise conflict(f"There are {MAX_LIVE} live {kind}s already; delete some first.", "LimitExceeded")


async def create_key(
    broker: Broker,
    caller: Caller,
    *,
    user_id: str,
    name: str,
    wanted: Scope,
    given: tuple[str, str] | None = None,
) -> Minted:
    """A long-lived key for the caller's own user (never wider than the caller) or, by admins, for others."""
    own = user_id == caller.user
    if not own and isinstance(no := policy.may_administer(caller), policy.Denied):
        raise denied(no.reason)
    scope = policy.narrow(caller.scope, wanted) if own else wanted
    if isinstance(scope, policy.Denied):
        raise denied(scope.reason)
    async with broker.change(caller) as unit:
        await check_room(unit.session, user_id, "key", unit.now)
        made = await mint(
            unit, broker.sealer, kind="key", user_id=user_id, scope=scope, name=name, given=given,
            parents=inheritance(caller) if own else (),
        )  # fmt: skip
        unit.note(
            "key.create", key=made.row.id, user=user_id, scope=scope_detail(scope), imported=bool(given)
        )
    return made


async def find_key(session: AsyncSession, caller: Caller, access_key_id: str, kind: Kind) -> Credential:
    """A live or expired credential of the caller's, or (admins) anybody's. Raises ApiError (404)."""
    row = await session.get(Credential, access_key_id)
    if row is None or row.deleted_at is not None or row.kind != kind:
        raise not_found(kind, access_key_id)
    mine = row.user_id == caller.user and (
        caller.scope.is_whole or caller.credential in (row.id, *row.parents)
    )
    if not mine and isinstance(policy.may_administer(caller), policy.Denied):
        raise not_found(kind, access_key_id)
    return row


async def end_key(
    broker: Broker, caller: Caller, access_key_id: str, kind: Kind, *, delete: bool = True
) -> dict[str, Any]:
    """Deletes (or disables) a credential and deletes what descends from it; cuts their transfers."""
    async with broker.change(caller) as unit:
        row = await find_key(unit.session, caller, access_key_id, kind)
        if delete:
            killed = await kill_credentials(unit, [row])
        else:
            children = await live_credentials(unit.session, row.user_id)
            killed = await kill_credentials(unit, [child for child in children if row.id in child.parents])
            row.enabled = False
            unit.touch("credential", row.id)
            unit.revoke(f"c:{row.id}")
        word = {"key": "key", "session": "token", "link": "link"}[kind]
        unit.note(f"{word}.{'delete' if delete else 'disable'}", key=row.id, user=row.user_id)
    ids = [access_key_id, *(key for key in killed.keys if key != access_key_id)]
    return revoked(
        unit, ids,
        sessions=len(set(killed.sessions) - {access_key_id}), links=len(set(killed.links) - {access_key_id}),
    )  # fmt: skip


async def sweep_sessions(broker: Broker, older_than_ms: int = 3_600_000) -> int:
    """Forgets sessions that ended a while ago, in SQL and in the live state; returns how many."""
    limit = now_ms() - older_than_ms
    gone = Credential.kind == "session", Credential.expires_at < limit
    async with broker.db.read() as session:
        if not await session.scalar(select(Credential.id).where(*gone).limit(1)):
            return 0
    async with broker.change(policy.SYSTEM) as unit:
        rows = list(await unit.session.scalars(select(Credential).where(*gone).limit(1000)))
        for row in rows:
            unit.touch("credential", row.id)
            await unit.session.delete(row)
    await broker.live.forget_uses([row.id for row in rows])
    return len(rows)


def scope_detail(scope: Scope) -> dict[str, Any]:
    """A scope for the audit trail: ids and words."""
    return {
        "workspaces": None if scope.workspaces is None else sorted(scope.workspaces),
        "permission": None if scope.permission is None else policy.WORDS[scope.permission],
        "expires_at": rfc3339(scope.expires),
    }
