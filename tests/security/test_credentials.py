"""Signing in, and what a credential may still do once it, or what it came from, is gone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from broker import passwords
from broker.auth import caller_for
from broker.errors import ApiError
from broker.keys.service import create_key
from broker.policy import Scope
from broker.sessions.service import issue_session
from broker.shares.service import create_share
from tests.broker.conftest import Client, World, database, settings, start, stored, world

__all__ = ["database", "settings", "start", "stored", "world"]


@pytest.mark.parametrize("end", ["delete key", "disable key", "disable user", "delete session"])
async def test_who_was_let_in_before_a_revoke_changes_nothing_after_it(stored: World, end: str) -> None:
    """A request that was authenticated just before its credential ended must not leave a new one behind."""
    alice = await stored.user("alice")
    await alice.ok("POST", "/workspaces", {"name": "photos"})
    await stored.user("bob")
    broker = stored.broker
    if end == "delete session":
        token = await alice.ok("POST", "/tokens", {})
        caller = await caller_for(broker.db, token["access_key_id"])
        await alice.ok("DELETE", "/tokens/" + token["access_key_id"])
    else:
        caller = await caller_for(broker.db, alice.access_key_id)
        if end == "disable user":
            await stored.admin.ok("POST", "/users/alice/disable")
        elif end == "disable key":
            await stored.admin.ok("POST", f"/keys/{alice.access_key_id}/disable")
        else:
            await stored.admin.ok("DELETE", f"/keys/{alice.access_key_id}")
    before = await broker.live.epoch()
    with pytest.raises(ApiError):
        await create_key(broker, caller, user_id=caller.user or "", name="late", wanted=Scope())
    with pytest.raises(ApiError):
        await issue_session(broker, caller, Scope())
    with pytest.raises(ApiError):
        await create_share(broker, caller, workspace="photos", principal="bob", permission=3, expires=None)
    assert await broker.live.epoch() == before


async def test_an_admin_who_is_none_any_more_changes_nothing(world: World) -> None:
    second = await world.user("second", admin=True)
    caller = await caller_for(world.broker.db, second.access_key_id)
    assert caller.admin
    await world.admin.ok("PATCH", "/users/second", {"admin": False})
    admin = await caller_for(world.broker.db, world.admin.access_key_id)
    with pytest.raises(ApiError):
        await create_key(world.broker, caller, user_id=admin.user or "", name="late", wanted=Scope())


async def test_nothing_outlives_a_session(stored: World) -> None:
    """A session makes no password, no unending key, and no wider one: else an hour would be for ever."""
    alice = await stored.user("alice", password="correct horse")
    made = await alice.ok("POST", "/tokens", {"duration": "15m"})
    session = Client(stored.http, made["access_key_id"], made["secret_access_key"], made["session_token"])
    assert (await session.refused("POST", "/users/alice/password", {"password": "battery staple"}))[0] == 403
    key = await session.ok("POST", "/keys", {})
    assert key["expires_at"] is not None
    child = Client(stored.http, key["access_key_id"], key["secret_access_key"])
    assert (await child.refused("POST", "/users/alice/password", {"password": "battery staple"}))[0] == 403
    await alice.ok("DELETE", f"/tokens/{made['access_key_id']}")
    assert (await child.refused("GET", "/whoami"))[1] == "InvalidAccessKeyId"
    # The password still is what it was, and a key may change it.
    answer = await stored.http.post("/api/v1/login", json={"username": "alice", "password": "correct horse"})
    assert answer.status_code == 201
    await alice.ok("POST", "/users/alice/password", {"password": "battery staple"})


async def _login(world: World, username: str, password: str) -> int:
    answer = await world.http.post("/api/v1/login", json={"username": username, "password": password})
    assert "request_id" in answer.text or answer.status_code == 201
    return answer.status_code


async def test_guesses_all_at_once_are_no_more_than_guesses_one_by_one(world: World) -> None:
    await world.user("alice", password="correct horse")
    statuses = await asyncio.gather(*(_login(world, "alice", f"guess number {n}") for n in range(40)))
    assert statuses.count(401) <= passwords.FREE_TRIES
    assert set(statuses) <= {401, 429}


async def test_many_right_passwords_at_once_are_let_in(world: World) -> None:
    for number in range(3):
        await world.user(f"user-{number}", password="correct horse")
    for _ in range(4):
        statuses = await asyncio.gather(
            *(_login(world, f"user-{number}", "correct horse") for number in range(3))
        )
        assert statuses == [201, 201, 201]


async def test_an_unknown_login_takes_as_long_as_a_wrong_password(world: World) -> None:
    """In answers to the letter; in time by the one thing that takes time: each verifies one hash."""
    await world.user("alice", password="correct horse")
    await world.user("nopass")
    took: dict[str, float] = {}
    texts = set()
    for name in ("alice", "nobody", "nopass"):
        started = time.process_time()
        answer = await world.http.post("/api/v1/login", json={"username": name, "password": "wrong password"})
        took[name] = time.process_time() - started
        error = answer.json()["error"]
        texts.add((answer.status_code, error["code"], error["message"]))
    assert len(texts) == 1
    assert min(took.values()) > max(took.values()) / 4, took


def test_passwords_are_hashed_as_owasp_has_it() -> None:
    hasher = passwords._hasher
    assert hasher.type.name == "ID"
    assert hasher.memory_cost >= 19 * 1024
    assert hasher.time_cost >= 2
    assert hasher.salt_len >= 16


async def test_hashing_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hash takes 64 MiB: strangers must not be able to ask for many at once."""
    running, most = 0, 0
    verify = passwords._hasher.verify

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(hasher, name)

        def verify(self, *args: Any) -> bool:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return verify(*args)
            finally:
                running -= 1

    hasher = passwords._hasher
    monkeypatch.setattr(passwords, "_hasher", Counting())
    await asyncio.gather(*(_login(world, f"nobody-{n}", "wrong password") for n in range(30)))
    assert 0 < most <= passwords.AT_ONCE
