"""Who may do what: the decision that admit takes and why explains."""

from __future__ import annotations

import time

from quota import Admitted, Denial, DenialCode
from tests.quota.conftest import World


async def code(world: World, key: str, bucket: str, need: int = 1) -> str:
    answer = await world.gate.admit_read(key, bucket, need)
    return answer.code.value if isinstance(answer, Denial) else "ok"


async def test_the_owner_is_admitted_by_both_names(world: World) -> None:
    for bucket in ("photos", "alice.photos"):
        answer = await world.gate.admit_read("A", bucket, 3)
        assert isinstance(answer, Admitted)
        route = answer.route
        assert (route.node, route.bucket, route.prefix) == ("node1", "data", "base/alice/photos.ws1/")
        assert answer.chain == ("c:A", "u:alice", "w:ws1", "node:node1")
        assert answer.workspace == "ws1"


async def test_a_reader_reads_and_no_more(world: World) -> None:
    answer = await world.gate.admit_read("B", "alice.photos", 1)
    assert isinstance(answer, Admitted)
    assert set(answer.chain) == {"c:B", "u:bob", "w:ws1", "node:node1", "s:share1"}
    assert await world.gate.admit_read("B", "alice.photos", 2) == Denial(
        DenialCode.ACCESS_DENIED, ("permission", "2", "1")
    )


async def test_what_is_not_there_and_what_is_not_shared_look_alike(world: World) -> None:
    unknown = await world.gate.admit_read("C", "alice.nothing", 1)
    unshared = await world.gate.admit_read("C", "alice.photos", 1)
    assert unknown == unshared == Denial(DenialCode.ACCESS_DENIED, ("unknown", "1", "0"))
    assert await code(world, "C", "photos") == "NoSuchBucket"
    assert await code(world, "A", "alice.nothing") == "NoSuchBucket"


async def test_unknown_revoked_and_disabled_keys_look_alike(world: World) -> None:
    assert await code(world, "nobody", "photos") == "InvalidAccessKeyId"
    record = await world.live.credential("A")
    assert record is not None
    await world.define("credential", "A", {**record, "enabled": False})
    assert await code(world, "A", "photos") == "InvalidAccessKeyId"
    await world.define("credential", "A", None)
    assert await code(world, "A", "photos") == "InvalidAccessKeyId"


async def test_a_session_that_ran_out_says_so(world: World) -> None:
    record = await world.live.credential("A")
    assert record is not None
    past = int(time.time() * 1000) - 1
    await world.define("credential", "S", {**record, "kind": "session", "parents": ["A"], "expires": past})
    assert await code(world, "S", "photos") == "ExpiredToken"


async def test_scope_caps_workspace_and_permission(world: World) -> None:
    record = await world.live.credential("A")
    assert record is not None
    await world.define("credential", "S", {**record, "parents": ["A"], "workspaces": ["other"]})
    assert await world.gate.admit_read("S", "photos", 1) == Denial(
        DenialCode.ACCESS_DENIED, ("scope", "1", "0")
    )
    await world.define("credential", "R", {**record, "parents": ["A"], "permission": 1})
    assert await code(world, "R", "photos", 1) == "ok"
    assert await world.gate.admit_read("R", "photos", 2) == Denial(
        DenialCode.ACCESS_DENIED, ("credential", "2", "1")
    )


async def test_a_disabled_user_has_nothing(world: World) -> None:
    await world.define("user", "alice", {"handle": "alice", "enabled": False, "admin": False, "groups": []})
    assert await code(world, "A", "photos") == "UserDisabled"


async def test_grants_by_group_and_everyone(world: World) -> None:
    await world.define("grant", "ws1|*", {"share": "s2", "permission": 1, "expires": None, "chain": []})
    assert await code(world, "C", "alice.photos") == "ok"
    await world.define(
        "grant", "ws1|g:staff", {"share": "s3", "permission": 2, "expires": None, "chain": ["s0"]}
    )
    answer = await world.gate.admit_read("B", "alice.photos", 2)
    assert isinstance(answer, Admitted)
    assert {"s:s3", "s:s0", "g:staff:bob"} <= set(answer.chain)


async def test_an_expired_grant_gives_nothing_and_an_older_change_loses(world: World) -> None:
    past = int(time.time() * 1000) - 1
    await world.define(
        "grant", "ws1|u:bob", {"share": "share1", "permission": 1, "expires": past, "chain": []}
    )
    assert await code(world, "B", "alice.photos") == "AccessDenied"
    from quota import Change

    await world.live.apply(
        [Change("grant", "ws1|u:bob", 1, {"share": "share1", "permission": 3, "expires": None, "chain": []})]
    )
    assert await code(world, "B", "alice.photos") == "AccessDenied"


async def test_a_child_of_a_dead_credential_is_dead(world: World) -> None:
    record = await world.live.credential("A")
    assert record is not None
    await world.define("credential", "A", None)
    await world.define("credential", "S", {**record, "kind": "session", "parents": ["A"]})
    assert await code(world, "S", "photos") == "InvalidAccessKeyId"


async def test_renaming_moves_the_name_and_nothing_else(world: World) -> None:
    record = await world.live.workspace("ws1")
    assert record is not None
    await world.define("workspace", "ws1", {**record, "names": ["alice.pictures"]})
    assert await code(world, "A", "photos") == "NoSuchBucket"
    assert await code(world, "A", "pictures") == "ok"


async def test_listing_buckets(world: World) -> None:
    assert await world.gate.buckets("A") == ("alice", [("photos", 1_700_000_000_000)])
    assert await world.gate.buckets("B") == ("bob", [("alice.photos", 1_700_000_000_000)])
    assert await world.gate.buckets("C") == ("carol", [])
    await world.define("grant", "ws1|u:bob", None)
    assert await world.gate.buckets("B") == ("bob", [])


async def test_nothing_is_decided_outside_the_epoch(world: World) -> None:
    world.gate.epoch = "another"
    assert await code(world, "A", "photos") == "NotReady"
    world.gate.epoch = ""
    assert await code(world, "A", "photos") == "NotReady"


async def test_why_tells_what_admit_decides(world: World) -> None:
    denied, found = await world.live.why("bob", "", "alice.photos", 2)
    assert denied == Denial(DenialCode.ACCESS_DENIED, ("permission", "2", "1"))
    assert (found["have"], found["via"], found["grant"]["share"]) == (1, "u:bob", "share1")
    denied, found = await world.live.why("alice", "A", "photos", 3)
    assert denied is None
    assert found["via"] == "owner"
