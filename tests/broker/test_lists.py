"""Lists cost the database as much for fifty rows as for five, and show the same as one row asked for alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import event

from tests.broker.conftest import Client, World

DATABASES = ["sqlite", "postgres"]
ASKING: ContextVar[bool] = ContextVar("asking", default=False)
LISTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/workspaces", {}),
    ("/shares", {}),
    ("/links", {}),
    ("/keys", {}),
    ("/tokens", {}),
    ("/quotas", {"all": "true"}),
)


@contextmanager
def statements(world: World) -> Iterator[list[str]]:
    """The SELECT statements of what is asked meanwhile; the broker's own rounds are not counted."""
    seen: list[str] = []
    token = ASKING.set(True)

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if ASKING.get() and statement.lstrip().upper().startswith("SELECT"):
            seen.append(statement)

    engine = world.broker.db.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        ASKING.reset(token)
        event.remove(engine, "before_cursor_execute", note)


async def fill(alice: Client, bob: Client, first: int, last: int) -> None:
    for i in range(first, last):
        await alice.ok("POST", "/workspaces", {"name": f"wsp{i}"})
        await alice.ok("POST", "/shares", {"workspace": f"wsp{i}", "principal": "bob", "permission": "own"})
        await alice.ok("POST", "/links", {"workspace": f"wsp{i}", "key": "a"})
        for who, name in ((alice, f"wsp{i}"), (bob, f"alice.wsp{i}")):
            await who.ok("POST", "/keys", {"workspaces": [name], "permission": "read"})
            await who.ok("POST", "/tokens", {"workspaces": [name], "permission": "read"})


async def test_statements_do_not_grow_with_the_rows(stored: World) -> None:
    alice, bob = await stored.user("alice"), await stored.user("bob")
    await stored.admin.ok("PUT", "/roots/local/grants", {"principal": "alice", "permission": "create"})
    counts: list[dict[tuple[str, str], int]] = []
    for first, last in ((0, 5), (5, 50)):
        await fill(alice, bob, first, last)
        counts.append({})
        for name, who in (("alice", alice), ("bob", bob), ("admin", stored.admin)):
            for path, query in LISTS:
                with statements(stored) as seen:
                    rows = await who.ok("GET", path, **query)
                counts[-1][name, path] = len(seen)
                if name == "bob" and path != "/quotas":
                    assert len(rows) >= last, path
    assert counts[0] == counts[1]
    assert max(counts[1].values()) <= 16


async def test_a_list_shows_what_each_row_shows(stored: World) -> None:
    alice, bob, carol = [await stored.user(name) for name in ("alice", "bob", "carol")]
    await stored.admin.ok("PUT", "/roots/local/grants", {"principal": "alice", "permission": "create"})
    await fill(alice, bob, 0, 3)
    await alice.ok("POST", "/workspaces/wsp1/alias", {"name": "other"})
    await alice.ok("POST", "/shares", {"workspace": "wsp2", "principal": "everyone", "permission": "read"})
    for who in (alice, bob, carol):
        for row in await who.ok("GET", "/workspaces"):
            assert row == await who.ok("GET", f"/workspaces/{row['id']}")
    assert [row["bucket"] for row in await carol.ok("GET", "/workspaces")] == ["alice.wsp2"]
    assert {row["principal"] for row in await carol.ok("GET", "/shares")} == {"everyone"}
    assert await carol.ok("GET", "/links") == []
    assert await stored.admin.ok("GET", "/workspaces") == [
        row
        for row in await stored.admin.ok("GET", "/workspaces", all="true")
        if row["bucket"] == "alice.wsp2"
    ]
    assert len(await stored.admin.ok("GET", "/workspaces", all="true")) == 3
    # Who holds own sees every link and share, without the URLs; pages follow each other.
    links = await bob.ok("GET", "/links")
    assert [row["url"] for row in links] == [None] * 3
    assert len(await bob.ok("GET", "/shares")) == 4
    pages = [await bob.ok("GET", "/links", limit=1, after=after) for after in ("", links[0]["id"])]
    assert [page[0] for page in pages] == links[:2]
    # A key for one workspace sees what it reaches, and of the keys itself.
    made = await alice.ok("POST", "/keys", {"workspaces": ["wsp1"], "permission": "own"})
    narrow = Client(stored.http, made["access_key_id"], made["secret_access_key"])
    assert [row["bucket"] for row in await narrow.ok("GET", "/workspaces")] == ["alice.wsp1"]
    assert {row["workspace"] for row in await narrow.ok("GET", "/shares")} == {"alice.wsp1"}
    assert {row["workspace"] for row in await narrow.ok("GET", "/links")} == {"alice.wsp1"}
    assert [row["access_key_id"] for row in await narrow.ok("GET", "/keys")] == [made["access_key_id"]]
