"""Users, groups and keys through the API."""

from __future__ import annotations

from tests.broker.conftest import ADMIN, Client, World

DATABASES = ("sqlite", "postgres")


async def test_a_login_becomes_a_handle_that_is_numbered_and_never_used_again(world: World) -> None:
    first = await world.admin.ok("POST", "/users", {"name": "Jane.Doe", "email": "jane@example.org"})
    second = await world.admin.ok("POST", "/users", {"name": "jane_doe"})
    assert (first["name"], second["name"]) == ("jane-doe", "jane-doe-2")
    assert first["login"] == "Jane.Doe"
    await world.admin.ok("DELETE", "/users/jane-doe")
    again = await world.admin.ok("POST", "/users", {"name": "Jane.Doe"})
    assert again["name"] == "jane-doe-3"
    assert again["id"] != first["id"]
    assert await world.admin.refused("POST", "/users", {"name": "Jane.Doe"}) == (409, "UserAlreadyExists")


async def test_users_see_names_only_and_change_only_themselves(world: World) -> None:
    jane = await world.user("jane", email="jane@example.org")
    bob = await world.user("bob")
    seen = {row["name"]: row for row in await bob.ok("GET", "/users")}
    assert "email" not in seen["jane"]
    assert "email" in seen["bob"]
    assert await bob.refused("PATCH", "/users/jane", {"email": "x"}) == (403, "AccessDenied")
    assert await bob.refused("PATCH", "/users/bob", {"admin": True}) == (403, "AccessDenied")
    assert await bob.refused("POST", "/users", {"name": "eve"}) == (403, "AccessDenied")
    assert await bob.refused("POST", "/users/jane/disable") == (403, "AccessDenied")
    assert (await jane.ok("PATCH", "/users/jane", {"email": "new@example.org"}))["email"] == "new@example.org"


async def test_a_disabled_user_is_out_at_once_and_in_again(world: World) -> None:
    bob = await world.user("bob")
    session = await bob.ok("POST", "/tokens", {})
    answer = await world.admin.ok("POST", "/users/bob/disable")
    me = (await world.admin.ok("GET", "/users/bob"))["id"]
    assert answer["revoked"] == [me]
    assert answer["sessions"] == 1
    assert answer["workers_unreachable"] == 0
    assert await bob.refused("GET", "/whoami") == (403, "AccessDenied")
    user = await world.broker.live.hget("USERS", me)
    assert b'"enabled":false' in (user or b"")
    await world.admin.ok("POST", "/users/bob/enable")
    assert (await bob.ok("GET", "/whoami"))["user"] == "bob"
    assert session["session_token"]


async def test_the_last_admin_stays(world: World) -> None:
    assert await world.admin.refused("POST", "/users/admin/disable") == (409, "Conflict")
    assert await world.admin.refused("PATCH", "/users/admin", {"admin": False}) == (409, "Conflict")
    assert await world.admin.refused("DELETE", "/users/admin") == (409, "Conflict")


async def test_login_by_password_gives_a_key_and_is_braked(world: World) -> None:
    body = {"username": "admin", "password": ADMIN["password"], "name": "laptop"}
    made = (await world.http.post("/api/v1/login", json=body)).json()
    client = Client(world.http, made["access_key_id"], made["secret_access_key"])
    assert (await client.ok("GET", "/whoami"))["kind"] == "key"
    answer = await client.ok("POST", "/logout")
    assert answer["revoked"] == [made["access_key_id"]]
    assert await client.refused("GET", "/whoami") == (403, "InvalidAccessKeyId")
    codes = []
    for _ in range(8):
        wrong = await world.http.post("/api/v1/login", json={**body, "password": "not this one"})
        codes.append(wrong.status_code)
    assert codes[:5] == [401] * 5
    assert codes[-1] == 429
    assert "not this one" not in wrong.text


async def test_groups_are_the_admins_and_a_member_may_leave(world: World) -> None:
    bob = await world.user("bob")
    await world.admin.ok("POST", "/groups", {"name": "lab"})
    group = await world.admin.ok("PUT", "/groups/lab/members/bob")
    assert group["members"] == ["bob"]
    assert (await bob.ok("GET", "/whoami"))["groups"] == ["lab"]
    assert await bob.refused("PUT", "/groups/lab/members/admin") == (403, "AccessDenied")
    await bob.ok("DELETE", "/groups/lab/members/bob")
    assert (await bob.ok("GET", "/whoami"))["groups"] == []
    await world.admin.ok("DELETE", "/groups/lab")
    assert await world.admin.ok("GET", "/groups") == []


async def test_keys_are_scoped_imported_disabled_and_never_used_again(world: World) -> None:
    bob = await world.user("bob")
    given = {"access_key_id": "my-old-key", "secret_access_key": "my-old-secret-key"}
    made = await bob.ok("POST", "/keys", {**given, "permission": "read", "expires": "1h"})
    assert made["scope"] == {"workspaces": None, "permission": "read"}
    old = Client(world.http, "my-old-key", "my-old-secret-key")
    assert (await old.ok("GET", "/whoami"))["kind"] == "key"
    assert await old.refused("POST", "/keys", {"permission": "own"}) == (403, "AccessDenied")
    child = await old.ok("POST", "/keys", {})
    assert child["scope"]["permission"] == "read"
    assert child["expires_at"] == made["expires_at"]
    gone = await bob.ok("DELETE", "/keys/my-old-key")
    assert set(gone["revoked"]) == {"my-old-key", child["access_key_id"]}
    assert await old.refused("GET", "/whoami") == (403, "InvalidAccessKeyId")
    assert await bob.refused("POST", "/keys", given) == (409, "Conflict")
    forged = {**given, "access_key_id": "WIOAFORGEDFORGEDFORG"}
    assert await bob.refused("POST", "/keys", forged) == (400, "InvalidRequest")
    assert await world.admin.refused("DELETE", "/keys/my-old-key") == (404, "NotFound")


async def test_nobody_ends_somebody_elses_credential(world: World) -> None:
    jane, bob = await world.user("jane"), await world.user("bob")
    session = await jane.ok("POST", "/tokens", {})
    for path in (f"/keys/{jane.access_key_id}", f"/tokens/{session['access_key_id']}"):
        assert await bob.refused("DELETE", path) == (404, "NotFound")
    assert await bob.refused("POST", "/keys", {"user": "jane"}) == (403, "AccessDenied")


async def test_a_disabled_keys_sessions_end_with_it(world: World) -> None:
    bob = await world.user("bob")
    key = await bob.ok("POST", "/keys", {"name": "script"})
    script = Client(world.http, key["access_key_id"], key["secret_access_key"])
    token = await script.ok("POST", "/tokens", {"duration": "15m"})
    session = Client(world.http, token["access_key_id"], token["secret_access_key"], token["session_token"])
    assert (await session.ok("GET", "/whoami"))["kind"] == "session"
    naked = Client(world.http, token["access_key_id"], token["secret_access_key"])
    assert await naked.refused("GET", "/whoami") == (400, "InvalidToken")
    answer = await bob.ok("POST", f"/keys/{key['access_key_id']}/disable")
    assert answer["sessions"] == 1
    assert await session.refused("GET", "/whoami") == (403, "InvalidAccessKeyId")
    assert await world.broker.live.credential(token["access_key_id"]) is None
    assert await bob.refused("POST", "/tokens", {"duration": "5m"}) == (400, "InvalidRequest")


async def test_strangers_get_nothing(world: World) -> None:
    for path, method in (
        ("/users", "GET"), ("/nodes", "GET"), ("/audit", "GET"), ("/shares", "GET"), ("/keys", "POST"),
    ):  # fmt: skip
        answer = await world.http.request(method, "/api/v1" + path)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "AccessDenied"
