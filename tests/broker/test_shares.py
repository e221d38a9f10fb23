"""Shares, reshares and what dies with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.broker.conftest import Client, World

DATABASES = ("sqlite", "postgres")


@pytest.fixture
async def people(stored: World) -> dict[str, Client]:
    made = {name: await stored.user(name) for name in ("jane", "bob", "eve", "ann")}
    await made["jane"].ok("POST", "/workspaces", {"name": "photos"})
    return made


async def share(
    who: Client, workspace: str, principal: str, permission: str, expires: str | None = None
) -> Any:
    body = {"workspace": workspace, "principal": principal, "permission": permission, "expires": expires}
    return await who.ok("POST", "/shares", {key: value for key, value in body.items() if value is not None})


async def test_a_reshare_hangs_under_the_share_it_came_from_and_dies_with_it(
    stored: World, people: dict[str, Client]
) -> None:
    jane, bob, eve, ann = (people[name] for name in ("jane", "bob", "eve", "ann"))
    top = await share(jane, "photos", "bob", "own", "7d")
    body = {"workspace": "jane.photos", "principal": "eve", "permission": "read"}
    assert await bob.refused("POST", "/shares", body) == (403, "AccessDenied"), "it would outlast bob's own"
    below = await share(bob, "jane.photos", "eve", "own", "1d")
    deepest = await share(eve, "jane.photos", "ann", "readwrite", "1h")
    assert (below["parent_id"], deepest["parent_id"]) == (top["id"], below["id"])
    grant = await stored.broker.live.hget("GRANTS", f"{await wsid(jane)}|u:{await uid(ann)}")
    assert {top["id"], below["id"]} == set(json.loads(grant or b"{}")["chain"])
    session = await ann.ok("POST", "/tokens", {"workspaces": ["jane.photos"]})
    link = await eve.ok("POST", "/links", {"workspace": "jane.photos", "key": "cat.jpg"})
    would = await jane.ok("DELETE", f"/shares/{top['id']}", dry_run="true")
    assert set(would["revoked"]) == {top["id"], below["id"], deepest["id"]}
    assert (would["sessions"], would["links"]) == (1, 1)
    assert (would["session_ids"], would["link_ids"]) == ([session["access_key_id"]], [link["id"]])
    assert len(await jane.ok("GET", "/shares", workspace="photos")) == 3, "a dry run changes nothing"
    gone = await jane.ok("DELETE", "/shares", workspace="photos", principal="bob")
    assert set(gone["revoked"]) == {top["id"], below["id"], deepest["id"]}
    assert (gone["sessions"], gone["links"]) == (1, 1)
    assert await ann.refused("GET", "/workspaces/jane.photos") == (404, "NotFound")
    assert await stored.broker.live.credential(link["id"]) is None


async def uid(client: Client) -> str:
    return str((await client.ok("GET", "/whoami"))["id"])


async def wsid(client: Client) -> str:
    return str((await client.ok("GET", "/workspaces/photos"))["id"])


async def test_a_resharer_touches_only_what_hangs_below(people: dict[str, Client]) -> None:
    jane, bob, eve = people["jane"], people["bob"], people["eve"]
    await share(jane, "photos", "bob", "own")
    other = await share(jane, "photos", "ann", "read")
    mine = await share(bob, "jane.photos", "eve", "read")
    for method, path, body in (
        ("DELETE", f"/shares/{other['id']}", None),
        ("PATCH", f"/shares/{other['id']}", {"permission": "own"}),
        ("POST", "/shares", {"workspace": "jane.photos", "principal": "ann", "permission": "own"}),
        ("POST", "/shares", {"workspace": "jane.photos", "principal": "bob", "permission": "read"}),
    ):
        assert await bob.refused(method, path, body) == (403, "AccessDenied")
    await bob.ok("PATCH", f"/shares/{mine['id']}", {"permission": "readwrite"})
    assert await eve.refused(
        "POST", "/shares", {"workspace": "jane.photos", "principal": "ann", "permission": "read"}
    )
    await eve.ok("DELETE", f"/shares/{mine['id']}")
    body = {"workspace": "photos", "principal": "jane", "permission": "read"}
    assert await jane.refused("POST", "/shares", body) == (400, "InvalidRequest")


async def test_a_downgrade_takes_away_the_reshares_and_links(people: dict[str, Client]) -> None:
    jane, bob = people["jane"], people["bob"]
    top = await share(jane, "photos", "bob", "own")
    below = await share(bob, "jane.photos", "eve", "read")
    await bob.ok("POST", "/links", {"workspace": "jane.photos", "key": "a/"})
    again = await share(jane, "photos", "bob", "readwrite")
    assert again["id"] == top["id"]
    assert again["changes"]["revoked"] == [below["id"]]
    assert again["changes"]["links"] == 1
    assert (await bob.ok("GET", "/workspaces/jane.photos"))["permission"] == "readwrite"


async def test_a_shorter_expiry_shortens_what_hangs_below(people: dict[str, Client]) -> None:
    jane, bob = people["jane"], people["bob"]
    top = await share(jane, "photos", "bob", "own")
    below = await share(bob, "jane.photos", "eve", "read")
    assert below["expires_at"] is None
    changed = await jane.ok("PATCH", f"/shares/{top['id']}", {"expires": "2h"})
    rows = {row["id"]: row for row in await jane.ok("GET", "/shares", workspace="photos")}
    assert rows[below["id"]]["expires_at"] == changed["expires_at"]
    grown = {"expires": "never"}
    assert await bob.refused("PATCH", f"/shares/{below['id']}", grown) == (400, "InvalidRequest")


async def test_leaving_a_group_takes_away_what_only_it_gave(stored: World, people: dict[str, Client]) -> None:
    jane, bob, eve = people["jane"], people["bob"], people["eve"]
    await stored.admin.ok("POST", "/groups", {"name": "lab"})
    await stored.admin.ok("PUT", "/groups/lab/members/bob")
    await share(jane, "photos", "group:lab", "own")
    below = await share(bob, "jane.photos", "eve", "read")
    answer = await stored.admin.ok("DELETE", "/groups/lab/members/bob")
    assert answer["revoked"] == [below["id"]]
    assert await bob.refused("GET", "/workspaces/jane.photos") == (404, "NotFound")
    assert await eve.refused("GET", "/workspaces/jane.photos") == (404, "NotFound")


async def test_admins_manage_shares_and_read_nothing_without_one(
    stored: World, people: dict[str, Client]
) -> None:
    made = await share(stored.admin, "jane.photos", "admin", "read")
    assert made["parent_id"] is None
    assert (await stored.admin.ok("GET", "/workspaces/jane.photos"))["permission"] == "read"
    audit = await people["jane"].ok("GET", "/audit", workspace="photos")
    assert [(row["user"], row["action"]) for row in audit[:1]] == [("admin", "share.create")]
    assert await people["bob"].refused("GET", "/audit", workspace="jane.photos") == (404, "NotFound")


async def test_a_scoped_key_reaches_only_its_workspaces(people: dict[str, Client], stored: World) -> None:
    jane = people["jane"]
    await jane.ok("POST", "/workspaces", {"name": "secret"})
    key = await jane.ok("POST", "/keys", {"workspaces": ["photos"], "permission": "readwrite"})
    narrow = Client(stored.http, key["access_key_id"], key["secret_access_key"])
    assert [row["name"] for row in await narrow.ok("GET", "/workspaces")] == ["photos"]
    assert await narrow.refused("GET", "/workspaces/secret") == (404, "NotFound")
    for method, path, body in (
        ("POST", "/shares", {"workspace": "photos", "principal": "bob", "permission": "read"}),
        ("POST", "/links", {"workspace": "photos", "key": "x"}),
        ("DELETE", "/workspaces/photos", None),
        ("POST", "/workspaces", {"name": "new"}),
        ("POST", "/tokens", {"permission": "own"}),
        ("GET", "/users", None),
        ("GET", "/audit", None),
    ):
        assert (await narrow.refused(method, path, body))[0] == 403, path
    token = await narrow.ok("POST", "/tokens", {})
    assert token["scope"] == {"workspaces": ["jane.photos"], "permission": "readwrite"}


async def test_links_are_listed_with_their_url_for_the_maker_and_ended_by_the_owner(
    people: dict[str, Client],
) -> None:
    jane, bob = people["jane"], people["bob"]
    await share(jane, "photos", "bob", "own")
    made = await bob.ok(
        "POST", "/links", {"workspace": "jane.photos", "key": "a/cat é.jpg", "password": "let me in"}
    )
    assert made["url"].startswith("http://127.0.0.1:9000/-/l/WIOL")
    assert made["url"].endswith("/cat%20%C3%A9.jpg")
    assert "let me in" not in str(made)
    (seen,) = await jane.ok("GET", "/links")
    assert seen["url"] is None
    assert await people["eve"].refused("DELETE", f"/links/{made['id']}") == (404, "NotFound")
    assert (await jane.ok("DELETE", f"/links/{made['id']}"))["revoked"] == [made["id"]]
    assert await bob.ok("GET", "/links") == []
    drop = {"workspace": "photos", "key": "in/", "mode": "upload", "max_bytes": 10}
    assert (await jane.ok("POST", "/links", drop))["mode"] == "upload"
    assert (await jane.refused("POST", "/links", drop | {"key": "in"}))[0] == 400
