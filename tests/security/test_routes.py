"""Who may use which route of the control plane: a table of every route, each tried as everybody.

A route that is missing from the table fails the test, and so does one that is let through, or refused, to another.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.broker.conftest import Client, Start, World, database, settings, start
from tests.servers import Minio

__all__ = ["database", "settings", "start"]

ACTORS = ("anonymous", "other", "narrow", "reader", "resharer", "manager", "owner", "admin")
SIGNED_IN = {"other", "reader", "resharer", "manager", "owner", "admin"}
EVERYBODY = SIGNED_IN | {"narrow"}
_numbers = itertools.count()


@dataclass
class Cast:
    """Everybody, and what is theirs. The resharer and the reader hold shares of the owner's workspace."""

    world: World
    node: Minio
    clients: dict[str, Client] = field(default_factory=dict)
    workspace: str = "owner.shared"
    root: str = "managed"

    async def fresh_workspace(self) -> str:
        """Another workspace of the owner's, with the same shares; its `OWNER.name`."""
        name = f"fresh-{next(_numbers)}"
        await self.clients["owner"].ok("POST", "/workspaces", {"name": name})
        await self.share(f"owner.{name}")
        return f"owner.{name}"

    async def share(self, workspace: str) -> None:
        owner = self.clients["owner"]
        for who, permission in (("resharer", "own"), ("reader", "read")):
            body = {"workspace": workspace, "principal": who, "permission": permission}
            await owner.ok("POST", "/shares", body)

    async def fresh_share(self) -> str:
        """A share of the owner's own with everybody's group, in a fresh workspace; its id."""
        workspace = await self.fresh_workspace()
        body = {"workspace": workspace, "principal": "group:crowd", "permission": "read"}
        return str((await self.clients["owner"].ok("POST", "/shares", body))["id"])

    async def fresh_user(self) -> str:
        made = await self.world.admin.ok("POST", "/users", {"name": f"extra-{next(_numbers)}"})
        return str(made["name"])

    async def fresh_key(self) -> str:
        return str((await self.clients["owner"].ok("POST", "/keys", {"name": "x"}))["access_key_id"])

    async def fresh_node(self) -> str:
        name = f"node-{next(_numbers)}"
        await self.clients["owner"].ok("POST", "/nodes", self.node_body(name))
        return name

    def node_body(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "endpoint": self.node.endpoint,
            "access_key_id": self.node.access_key,
            "secret_access_key": self.node.secret_key,
        }

    async def fresh_root(self, kind: str = "unmanaged", prefix: str = "") -> str:
        """A root on the admin's node, managed by `manager`."""
        name = f"root-{next(_numbers)}"
        body = {
            "name": name,
            "node": "local",
            "bucket": f"{name}-{self.world.broker.settings.realm}",
            "kind": kind,
        }
        await self.world.admin.ok("POST", "/roots", body)
        grant = {"principal": "manager", "permission": "manage"}
        await self.world.admin.ok("PUT", f"/roots/{name}/grants", grant)
        return name

    async def fresh_group(self) -> str:
        name = f"group-{next(_numbers)}"
        await self.world.admin.ok("POST", "/groups", {"name": name})
        await self.world.admin.ok("PUT", f"/groups/{name}/members/owner")
        return name

    async def fresh_token(self) -> str:
        return str((await self.clients["owner"].ok("POST", "/tokens", {}))["access_key_id"])

    async def fresh_link(self) -> str:
        body = {"workspace": self.workspace, "key": "a"}
        return str((await self.clients["owner"].ok("POST", "/links", body))["id"])


Request = tuple[str, Any, dict[str, Any]]
Build = Callable[[Cast], Awaitable[Request]]


def fixed(path: str, body: Any = None, **query: Any) -> Build:
    async def build(_cast: Cast) -> Request:
        return path, body, query

    return build


def on(make: Callable[[Cast], Awaitable[str]], path: str, body: Any = None, **query: Any) -> Build:
    """`{}` in path, and `"{}"` as a value of body or query, is what `make` made; `"{n}"` is a new name."""

    async def build(cast: Cast) -> Request:
        made = await make(cast)
        filled = {name: made if value == "{}" else value for name, value in query.items()}
        content = body
        if isinstance(body, dict):
            content = {
                name: made if value == "{}" else f"n-{next(_numbers)}" if value == "{n}" else value
                for name, value in body.items()
            }
        return path.format(made), content, filled

    return build


def numbered(path: str, **body: str) -> Build:
    async def build(_cast: Cast) -> Request:
        return (
            path,
            {
                name: value.format(next(_numbers)) if isinstance(value, str) else value
                for name, value in body.items()
            },
            {},
        )

    return build


async def _node_body(cast: Cast) -> Request:
    return "/nodes", cast.node_body(f"made-{next(_numbers)}"), {}


async def _root_body(cast: Cast) -> Request:
    name, node = f"made-{next(_numbers)}", await cast.fresh_node()
    return "/roots", {"name": name, "node": node, "bucket": f"{name}-{cast.world.broker.settings.realm}"}, {}


WS, SHARE, USER, KEY, NODE = (
    Cast.fresh_workspace,
    Cast.fresh_share,
    Cast.fresh_user,
    Cast.fresh_key,
    Cast.fresh_node,
)
ROOT, GROUP, TOKEN, LINK = Cast.fresh_root, Cast.fresh_group, Cast.fresh_token, Cast.fresh_link
ADMIN = {"admin"}
OWN = {"owner", "resharer", "admin"}
#: Of the owner and of admins alone: whoever holds `own` by a share is not enough.
OWNER = {"owner", "admin"}
NARROW_OWN = {"narrow"}

TABLE: dict[tuple[str, str], tuple[Build, set[str]]] = {
    ("POST", "/logout"): (fixed("/logout"), EVERYBODY),
    ("GET", "/whoami"): (fixed("/whoami"), EVERYBODY),
    ("GET", "/info"): (fixed("/info"), EVERYBODY),
    ("POST", "/users"): (numbered("/users", name="user-{}"), ADMIN),
    ("GET", "/users"): (fixed("/users"), SIGNED_IN),
    ("GET", "/users/{name}"): (fixed("/users/owner"), SIGNED_IN),
    ("PATCH", "/users/{name}"): (fixed("/users/owner", {"email": "o@example.org"}), OWNER),
    ("POST", "/users/{name}/password"): (fixed("/users/owner/password", {"password": "correct horse"}), OWNER),
    ("POST", "/users/{name}/disable"): (on(USER, "/users/{}/disable"), ADMIN),
    ("POST", "/users/{name}/enable"): (on(USER, "/users/{}/enable"), ADMIN),
    ("DELETE", "/users/{name}"): (on(USER, "/users/{}"), ADMIN),
    ("POST", "/groups"): (numbered("/groups", name="made-group-{}"), ADMIN),
    ("GET", "/groups"): (fixed("/groups"), SIGNED_IN),
    ("DELETE", "/groups/{name}"): (on(GROUP, "/groups/{}"), ADMIN),
    ("PUT", "/groups/{name}/members/{user}"): (on(GROUP, "/groups/{}/members/other"), ADMIN),
    ("DELETE", "/groups/{name}/members/{user}"): (on(GROUP, "/groups/{}/members/owner"), OWNER),
    ("POST", "/keys"): (fixed("/keys", {"user": "owner"}), OWNER | NARROW_OWN),
    ("GET", "/keys"): (fixed("/keys"), EVERYBODY),
    ("POST", "/keys/{access_key_id}/disable"): (on(KEY, "/keys/{}/disable"), OWNER),
    ("DELETE", "/keys/{access_key_id}"): (on(KEY, "/keys/{}"), OWNER),
    ("POST", "/nodes"): (_node_body, SIGNED_IN),
    ("GET", "/nodes"): (fixed("/nodes"), EVERYBODY),
    ("GET", "/nodes/{name}"): (fixed("/nodes/local"), EVERYBODY),
    ("PATCH", "/nodes/{name}"): (on(NODE, "/nodes/{}", {"region": "us-east-1"}), OWNER),
    ("POST", "/nodes/{name}/check"): (on(NODE, "/nodes/{}/check"), OWNER),
    ("DELETE", "/nodes/{name}"): (on(NODE, "/nodes/{}"), OWNER),
    ("POST", "/roots"): (_root_body, OWNER),
    ("GET", "/roots"): (fixed("/roots"), EVERYBODY),
    ("GET", "/roots/{name}"): (fixed("/roots/local"), EVERYBODY),
    ("PATCH", "/roots/{name}"): (on(ROOT, "/roots/{}", {"name": "{}"}), {"manager", "admin"}),
    ("DELETE", "/roots/{name}"): (on(ROOT, "/roots/{}"), {"manager", "admin"}),
    ("PUT", "/roots/{name}/grants"): (
        on(ROOT, "/roots/{}/grants", {"principal": "other", "permission": "create"}), {"manager", "admin"},
    ),
    ("DELETE", "/roots/{name}/grants"): (
        on(ROOT, "/roots/{}/grants", principal="other", permission="create"), {"manager", "admin"},
    ),
    ("POST", "/roots/{name}/default"): (fixed("/roots/local/default", {"everyone": True}), ADMIN),
    ("POST", "/roots/{name}/import"): (on(ROOT, "/roots/{}/import"), {"manager", "admin"}),
    ("POST", "/workspaces"): (numbered("/workspaces", name="made-{}", owner="owner"), OWNER),
    ("GET", "/workspaces"): (fixed("/workspaces"), EVERYBODY),
    ("GET", "/workspaces/{workspace}"): (fixed("/workspaces/owner.shared"), {"reader", "narrow", *OWN}),
    ("DELETE", "/workspaces/{workspace}"): (on(WS, "/workspaces/{}"), OWN),
    ("POST", "/workspaces/{workspace}/rename"): (
        on(WS, "/workspaces/{}/rename", {"name": "{n}"}), OWN,
    ),
    ("POST", "/workspaces/{workspace}/alias"): (on(WS, "/workspaces/{}/alias", {"name": "{n}"}), OWN),
    ("POST", "/workspaces/{workspace}/transfer"): (on(WS, "/workspaces/{}/transfer", {"to": "heir"}), OWNER),
    ("POST", "/shares"): (
        on(WS, "/shares", {"workspace": "{}", "principal": "other", "permission": "read"}), OWN,
    ),
    ("GET", "/shares"): (fixed("/shares"), EVERYBODY),
    ("PATCH", "/shares/{share}"): (on(SHARE, "/shares/{}", {"permission": "readwrite"}), OWNER),
    ("DELETE", "/shares/{share}"): (on(SHARE, "/shares/{}"), OWNER),
    ("DELETE", "/shares"): (on(WS, "/shares", workspace="{}", principal="reader"), OWNER | {"reader"}),
    ("POST", "/tokens"): (fixed("/tokens", {}), EVERYBODY),
    ("GET", "/tokens"): (fixed("/tokens"), EVERYBODY),
    ("DELETE", "/tokens/{access_key_id}"): (on(TOKEN, "/tokens/{}"), OWNER),
    ("POST", "/links"): (fixed("/links", {"workspace": "owner.shared", "key": "a"}), {"owner", "resharer"}),
    ("GET", "/links"): (fixed("/links"), EVERYBODY),
    ("DELETE", "/links/{link}"): (on(LINK, "/links/{}"), OWN),
    ("PUT", "/quotas"): (fixed("/quotas", {"level": "user", "subject": "owner", "bytes": 1 << 40}), ADMIN),
    ("GET", "/quotas"): (fixed("/quotas"), EVERYBODY),
    ("POST", "/quotas/recount"): (fixed("/quotas/recount", {"workspace": "owner.shared"}), OWN),
    ("GET", "/audit"): (fixed("/audit", workspace="owner.shared"), OWN),
    ("GET", "/audit/verify"): (fixed("/audit/verify"), ADMIN),
    ("GET", "/why"): (fixed("/why", user="reader", action="read", bucket="owner.shared"), OWN | {"reader"}),
    ("GET", "/transfers"): (fixed("/transfers"), EVERYBODY),
}  # fmt: skip
#: Not under the rule of one caller: signing in, health, and the documents of the API itself.
APART = {("POST", "/api/v1/login"), ("GET", "/-/live"), ("GET", "/-/ready"), ("GET", "/-/metrics"), ("POST", "/"),
         ("GET", "/api/openapi.json"), ("GET", "/api/docs"), ("GET", "/docs/oauth2-redirect")}  # fmt: skip


@pytest.fixture
async def cast(start: Start, minio: Minio) -> AsyncIterator[Cast]:
    async with start(minio) as world:
        people = Cast(world, minio)
        for name in ("owner", "other", "reader", "resharer", "manager", "heir"):
            people.clients[name] = await world.user(name)
        people.clients["admin"] = world.admin
        await world.admin.ok("POST", "/groups", {"name": "crowd"})
        await people.clients["owner"].ok("POST", "/workspaces", {"name": "shared"})
        await people.share(people.workspace)
        scoped = {"workspaces": ["shared"], "permission": "read"}
        key = await people.clients["owner"].ok("POST", "/keys", scoped)
        people.clients["narrow"] = Client(world.http, key["access_key_id"], key["secret_access_key"])
        yield people


def routes_of(app: Any) -> set[tuple[str, str]]:
    schema = {(method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item}
    plain = {
        (method, route.path)
        for route in app.routes
        for method in (getattr(route, "methods", None) or ())
        if method != "HEAD" and hasattr(route, "path")
    }
    return schema | plain


async def _as(cast: Cast, actor: str, method: str, request: Request) -> httpx.Response:
    path, body, query = request
    if actor == "anonymous":
        return await cast.world.http.request(method, "/api/v1" + path, json=body, params=query)
    client = cast.clients[actor]
    if path == "/logout":
        # With a key that is there to be lost.
        made = await client.ok("POST", "/keys", {})
        client = Client(cast.world.http, made["access_key_id"], made["secret_access_key"])
    return await client.call(method, path, body, **query)


async def test_every_route_is_in_the_table(cast: Cast) -> None:
    known = {(method, "/api/v1" + path) for method, path in TABLE} | APART
    there = routes_of(cast.world.app)
    assert there - known == set(), "routes that the table does not know"
    assert known - there - APART == set(), "rows without a route"


async def test_every_route_as_everybody(cast: Cast) -> None:
    wrong: list[str] = []
    for (method, route), (build, allowed) in TABLE.items():
        for actor in ACTORS:
            answer = await _as(cast, actor, method, await build(cast))
            said = f"{method} {route} as {actor}: {answer.status_code} {answer.text[:200]}"
            if actor in allowed:
                if not answer.is_success:
                    wrong.append("refused: " + said)
            elif actor == "anonymous":
                if answer.status_code != 401:
                    wrong.append("not 401: " + said)
            elif answer.status_code not in (403, 404):
                wrong.append("let through: " + said)
    assert not wrong, "\n".join(wrong)


async def test_fields_that_are_nobodys_to_set(cast: Cast) -> None:
    """Mass assignment: what a route does not name is refused, and an admin's field is an admin's."""
    owner, other = cast.clients["owner"], cast.clients["other"]
    assert await owner.refused("PATCH", "/users/owner", {"admin": True}) == (403, "AccessDenied")
    assert await owner.refused("PATCH", "/users/owner", {"admin": False}) == (403, "AccessDenied")
    for path, body in (
        ("/users/owner", {"id": "x"}), ("/users/owner", {"password": "correct horse"}),
        ("/users/owner", {"enabled": True}), ("/users/owner", {"subject": "x"}), ("/users/owner", {"handle": "admin"}),
    ):  # fmt: skip
        assert (await owner.refused("PATCH", path, body))[0] == 400, body
    for path, body in (
        ("/keys", {"parents": []}), ("/keys", {"kind": "session"}), ("/keys", {"user_id": "x"}),
        ("/keys", {"access_key_id": "WIOAAAAAAAAAAAAAAAAA", "secret_access_key": "x" * 40}),
        ("/keys", {"access_key_id": "a|b", "secret_access_key": "x" * 40}),
        ("/keys", {"access_key_id": "a b c", "secret_access_key": "x" * 40}),
        ("/tokens", {"user": "admin"}), ("/tokens", {"expires": "1000d"}), ("/tokens", {"duration": "13h"}),
        ("/workspaces", {"name": "abc", "bucket": "x"}), ("/workspaces", {"name": "abc", "id": "x"}),
        ("/workspaces", {"name": "abc", "public": True}), ("/workspaces", {"name": "abc", "prefix": "base/"}),
        ("/links", {"workspace": "shared", "key": "../x"}), ("/links", {"workspace": "shared", "token": "x"}),
        ("/shares", {"workspace": "shared", "principal": "other", "permission": "admin"}),
        ("/shares", {"workspace": "shared", "principal": "*", "permission": "read", "chain": []}),
    ):  # fmt: skip
        assert (await owner.refused("POST", path, body))[0] in (400, 403), body
    assert (await other.refused("POST", "/keys", {"user": "admin"}))[0] == 403
    assert (await other.refused("POST", "/workspaces", {"name": "abc", "owner": "owner"}))[0] == 403


async def test_sizes_are_bounded_and_failures_say_no_more_than_they_should(cast: Cast) -> None:
    """Bodies, depths, lists, pages and numbers: a 4xx in the API's own shape, never a stack trace."""
    owner = cast.clients["owner"]
    raw = {"authorization": owner._headers["authorization"], "content-type": "application/json"}
    deep = "[" * 100_000 + "]" * 100_000
    for body in (
        deep,
        "{" * 1000,
        '{"name":' + deep + "}",
        "\0",
        "nul",
        '"x"',
        "[]",
        '{"name": 1e999}',
        "x" * 2_000_000,
    ):
        answer = await cast.world.http.post("/api/v1/keys", content=body, headers=raw)
        assert answer.status_code in (400, 413), (body[:20], answer.status_code, answer.text[:200])
        assert set(answer.json()) == {"error"}
        assert "Traceback" not in answer.text
    for path, body in (
        ("/keys", {"workspaces": ["shared"] * 1001}), ("/tokens", {"workspaces": ["shared"] * 1001}),
        ("/keys", {"name": "x" * 256}), ("/links", {"workspace": "shared", "key": "x" * 3000}),
        ("/links", {"workspace": "shared", "max_downloads": 1 << 70}), ("/tokens", {"duration": "9" * 200}),
        ("/tokens", {"duration": 10**30}), ("/keys", {"expires": "99999999d"}),
        ("/keys", {"expires": "0001-01-01T00:00:00Z"}),
    ):  # fmt: skip
        assert (await owner.refused("POST", path, body))[0] == 400, body
    for query in ({"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"limit": -1}, {"after": "x" * 300}):
        assert (await owner.refused("GET", "/keys", None, **query))[0] == 400, query
    for before in (10**30, -(10**30)):
        assert (await owner.call("GET", "/audit", before=before)).status_code in (200, 400)
    for odd in ("%00", "a%00b", "%ff", "..", "a" * 5000, "%2e%2e%2f", "x|y", "'; drop table users; --"):
        for path in ("/workspaces/", "/users/", "/shares/", "/nodes/", "/roots/"):
            status = (await owner.call("GET", path + odd)).status_code
            assert status in (200, 400, 404, 405), (path, odd, status)


async def test_ids_of_others_tell_nothing(cast: Cast) -> None:
    """What is not there and what is another's give one answer."""
    other = cast.clients["other"]
    share, link, token, key = [await make(cast) for make in (SHARE, LINK, TOKEN, KEY)]
    workspace = await cast.clients["owner"].ok("GET", "/workspaces/shared")
    for method, path, real, unreal in (
        ("PATCH", "/shares/{}", share, "a" * 16), ("DELETE", "/shares/{}", share, "a" * 16),
        ("DELETE", "/links/{}", link, "WIOL" + "A" * 16), ("DELETE", "/tokens/{}", token, "WIOS" + "A" * 16),
        ("DELETE", "/keys/{}", key, "WIOA" + "A" * 16), ("DELETE", "/keys/{}", token, "WIOS" + "A" * 16),
        ("GET", "/workspaces/{}", "owner.shared", "owner.absent"),
        ("GET", "/workspaces/{}", workspace["id"], "a" * 16),
        ("DELETE", "/workspaces/{}", "owner.shared", "nobody.absent"),
    ):  # fmt: skip
        body = {"permission": "read"} if method == "PATCH" else None
        answers = []
        for name in (real, unreal):
            answer = await other.call(method, path.format(name), body)
            error = answer.json()["error"]
            answers.append((answer.status_code, error["code"], error["message"].replace(name, "")))
        assert answers[0] == answers[1], (method, path, answers)
        assert answers[0][0] == 404


async def test_an_admin_reads_no_data_without_a_share(cast: Cast) -> None:
    admin = cast.world.admin
    told = await admin.ok("GET", "/why", user="admin", action="read", bucket="owner.shared")
    assert told["allowed"] is False
    assert (await admin.refused("POST", "/links", {"workspace": "owner.shared", "key": "a"}))[0] == 403
    shown = await admin.ok("GET", "/workspaces", all="true")
    assert {row["permission"] for row in shown if row["owner"] == "owner"} == {None}
    # With a share it can, and that is on record.
    await admin.ok(
        "POST", "/shares", {"workspace": "owner.shared", "principal": "admin", "permission": "read"}
    )
    assert (await admin.ok("GET", "/why", user="admin", action="read", bucket="owner.shared"))[
        "allowed"
    ] is True
    rows = await cast.clients["owner"].ok("GET", "/audit", workspace="shared")
    assert (rows[0]["user"], rows[0]["action"], rows[0]["detail"]["principal"]) == (
        "admin",
        "share.create",
        "admin",
    )


async def test_secrets_are_shown_once(cast: Cast) -> None:
    owner, admin = cast.clients["owner"], cast.world.admin
    key = await owner.ok("POST", "/keys", {})
    token = await owner.ok("POST", "/tokens", {})
    login = await cast.world.http.post(
        "/api/v1/login", json={"username": "admin", "password": "correct horse"}
    )
    link = await owner.ok("POST", "/links", {"workspace": "shared", "key": "a", "password": "open sesame"})
    link_secret = link["url"].split("/-/l/")[1].split("/")[0].split(".")[1]
    secrets = [key["secret_access_key"], token["secret_access_key"], token["session_token"],
               login.json()["secret_access_key"], "open sesame", cast.node.secret_key, "correct horse"]  # fmt: skip
    for path in ("/keys", "/tokens", "/links", "/users", "/nodes", "/nodes/local", "/audit", "/whoami", "/info",
                 "/workspaces", "/shares", "/quotas", "/transfers", "/roots"):  # fmt: skip
        for client in (owner, admin):
            text = (await client.call("GET", path)).text
            assert not [secret for secret in secrets if secret in text], path
            assert "$argon2" not in text, path
            # The link's URL, which its maker may copy again, is nobody else's: not even an admin's.
            assert (link_secret in text) == (path == "/links" and client is owner), path
