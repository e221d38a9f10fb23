"""Holds and groups: what is charged is never less than what is stored (protocol, rules 5 to 8)."""

from __future__ import annotations

import json

import pytest

from quota import Admitted, Change, Denial, DenialCode, Outcome, Settlement
from quota.gate import Stake
from tests.quota.conftest import World


async def put(
    world: World, hold: str, size: int, key: bytes = b"k", kind: str = "put", **more: object
) -> str:
    objects = 0 if kind == "delete" else 1
    answer = await world.gate.admit(
        "A",
        "photos",
        2,
        kind,
        hold,
        key,
        size=size,
        objects=objects,
        **more,  # type: ignore[arg-type]
    )
    return answer.code.value if isinstance(answer, Denial) else answer.duty


async def settle(world: World, hold: str, outcome: Outcome, **more: int) -> str:
    (result,) = await world.gate.settle([Settlement(hold, outcome, **more)])
    return result


async def charged(world: World, unit: str = "w:ws1") -> tuple[int, int]:
    usage = await world.usage(unit)
    return usage["b"] + usage["hb"] + usage["db"], usage["o"] + usage["ho"] + usage["do"]


async def clean(world: World) -> bool:
    redis, layout = world.live.redis, world.live.layout
    return not await redis.hlen(layout["HOLDS"]) and not await redis.hlen(layout["KEYS_HASH"])


UNITS = ("w:ws1", "u:alice", "ur:alice:root1", "r:root1")


async def store(world: World, size: int, key: bytes = b"k", hold: str = "seed") -> None:
    await put(world, hold, size, key)
    await settle(world, hold, Outcome.DONE, base_bytes=0, base_objects=0, bytes=size, objects=1)


async def test_a_put_is_held_then_charged_at_four_levels(world: World) -> None:
    assert await put(world, "h1", 100) == "read"
    for unit in UNITS:
        usage = await world.usage(unit)
        assert (usage["b"], usage["hb"], usage["ho"]) == (0, 100, 1)
    assert await settle(world, "h1", Outcome.DONE, base_bytes=0, base_objects=0, bytes=100, objects=1) == "ok"
    for unit in UNITS:
        usage = await world.usage(unit)
        assert (usage["b"], usage["o"], usage["hb"], usage["ho"]) == (100, 1, 0, 0)
    assert await clean(world)


async def test_an_overwrite_is_charged_the_difference_and_a_delete_gives_back(world: World) -> None:
    await store(world, 100)
    assert await put(world, "h2", 30) == "read"
    assert (
        await settle(world, "h2", Outcome.DONE, base_bytes=100, base_objects=1, bytes=30, objects=1) == "ok"
    )
    assert await charged(world) == (30, 1)
    assert await put(world, "h3", 0, kind="delete") == "read"
    assert await settle(world, "h3", Outcome.DONE, base_bytes=30, base_objects=1) == "ok"
    assert await charged(world) == (0, 0)


async def test_deleting_what_is_not_there_gives_back_nothing(world: World) -> None:
    await store(world, 100)
    await put(world, "h2", 0, b"other", kind="delete")
    await settle(world, "h2", Outcome.DONE, base_bytes=0, base_objects=0)
    assert await charged(world) == (100, 1)


async def test_nothing_stored_nothing_charged(world: World) -> None:
    await put(world, "h1", 100)
    assert await settle(world, "h1", Outcome.NONE) == "ok"
    assert await charged(world) == (0, 0)
    assert await clean(world)


async def test_settling_twice_counts_once(world: World) -> None:
    await put(world, "h1", 100)
    done = {"base_bytes": 0, "base_objects": 0, "bytes": 100, "objects": 1}
    assert await settle(world, "h1", Outcome.DONE, **done) == "ok"
    assert await settle(world, "h1", Outcome.DONE, **done) == "gone"
    assert await charged(world) == (100, 1)


async def test_a_release_that_overtakes_its_admit_leaves_no_hold(world: World) -> None:
    """A paused Redis runs the admit after the client was told 503 (rule 5)."""
    assert await settle(world, "h1", Outcome.NONE) == "gone"
    assert await put(world, "h1", 100) == "Gone"
    assert await charged(world) == (0, 0)


async def test_two_deletes_of_one_object_give_back_its_size_once(world: World) -> None:
    await store(world, 100)
    assert await put(world, "d1", 0, kind="delete") == "read"
    assert await put(world, "d2", 0, kind="delete") == "wait"
    assert await world.gate.size("d2") == "wait"
    # The first tells its reading with its settlement; only then may the second go on.
    assert await settle(world, "d1", Outcome.DONE, base_bytes=100, base_objects=1) == "ok"
    assert await charged(world) == (100, 1)
    assert await world.gate.size("d2") == 0
    assert await settle(world, "d2", Outcome.DONE) == "look"
    assert await settle(world, "d2", Outcome.LOOK, bytes=0, objects=0) == "ok"
    assert await charged(world) == (0, 0)
    assert await clean(world)


async def test_several_members_are_settled_by_a_look(world: World) -> None:
    await store(world, 50)
    await put(world, "p1", 100)
    assert await put(world, "p2", 70) == "wait"
    assert await world.gate.size("p1", base=50, base_objects=1) == 100
    assert await world.gate.size("p2") == 70
    assert (await world.usage())["hb"] == 50
    done = {"objects": 1}
    assert await settle(world, "p2", Outcome.DONE, bytes=70, **done) == "ok"
    assert await charged(world) == (100, 1)
    assert await settle(world, "p1", Outcome.DONE, bytes=100, **done) == "look"
    assert await settle(world, "p1", Outcome.LOOK, bytes=70, objects=1) == "ok"
    assert await charged(world) == (70, 1)


async def test_the_duty_to_read_passes_on_when_the_reader_leaves(world: World) -> None:
    await put(world, "p1", 10)
    assert await put(world, "p2", 20) == "wait"
    await settle(world, "p1", Outcome.NONE)
    assert await world.gate.size("p2") == "read"
    assert await world.gate.size("p2", base=0) == 20
    assert await settle(world, "p2", Outcome.DONE, bytes=20, objects=1) == "ok"
    assert await charged(world) == (20, 1)


@pytest.mark.parametrize(
    "limit", ["w:ws1", "w:@alice", "w:*", "u:alice", "u:*", "ur:alice:root1", "ur:*:root1", "r:root1"]
)
async def test_no_level_lets_one_byte_too_many_through(world: World, limit: str) -> None:
    await world.limit(limit, bytes=100)
    await store(world, 60, b"a", "h1")
    assert await put(world, "h2", 40, b"b") == "read"
    assert await put(world, "h3", 1, b"c") == "size"
    refused = await world.gate.size("h3", base=0)
    assert isinstance(refused, Denial)
    assert refused.code is DenialCode.QUOTA_EXCEEDED
    assert refused.details[2:] == ("bytes", "100", "100", "1")
    await settle(world, "h2", Outcome.NONE)
    assert await put(world, "h4", 40, b"c") == "read"


async def test_an_object_limit_counts_new_objects_only(world: World) -> None:
    await world.limit("w:ws1", objects=1)
    await store(world, 5)
    assert await put(world, "h2", 5, b"other") == "size"
    assert isinstance(await world.gate.size("h2", base=0), Denial)
    assert await put(world, "h3", 5, b"k") == "size"
    assert await world.gate.size("h3", base=5, base_objects=1) == 5


async def test_an_overwrite_that_fits_by_its_difference_is_admitted(world: World) -> None:
    await world.limit("w:ws1", bytes=100)
    await store(world, 90)
    assert await put(world, "h2", 95) == "size"
    assert await charged(world) == (90, 1)
    assert await world.gate.size("h2", base=90, base_objects=1) == 95
    assert await charged(world) == (95, 1)
    assert await settle(world, "h2", Outcome.DONE, bytes=95, objects=1) == "ok"
    assert await charged(world) == (95, 1)


async def test_a_limit_below_the_usage_stops_writes_only(world: World) -> None:
    await store(world, 90)
    await world.limit("u:alice", bytes=10)
    assert isinstance(await world.gate.admit_read("A", "photos", 1), Admitted)
    await put(world, "h2", 1, b"x")
    assert isinstance(await world.gate.size("h2", base=0), Denial)
    assert await put(world, "h3", 0, kind="delete") == "read"
    assert await settle(world, "h3", Outcome.DONE, base_bytes=90, base_objects=1) == "ok"
    assert await charged(world) == (0, 0)


async def test_doubt_stays_charged_until_a_look_after_the_node_can_commit_no_more(world: World) -> None:
    await put(world, "h1", 100)
    assert await settle(world, "h1", Outcome.DOUBT, base_bytes=0, base_objects=0) == "doubt"
    usage = await world.usage()
    assert (usage["b"], usage["hb"], usage["db"], usage["do"]) == (0, 0, 100, 1)
    subject = "ws1|kk"
    early = await world.live.run("resolve", await world.live.epoch(), subject, "", 0, 0, "")
    assert early[0] == b"early"
    import asyncio

    await asyncio.sleep(int(early[1]) / 1000 + 0.01)
    assert await world.live.run("resolve", await world.live.epoch(), subject, "", 100, 1, "") == [b"ok"]
    usage = await world.usage()
    assert (usage["b"], usage["o"], usage["db"], usage["do"]) == (100, 1, 0, 0)
    assert await clean(world)


async def test_a_writer_beside_a_doubt_ends_in_doubt(world: World) -> None:
    await put(world, "h1", 100)
    await settle(world, "h1", Outcome.DOUBT, base_bytes=0, base_objects=0)
    assert await put(world, "h2", 70) == "known"
    assert await charged(world) == (100, 1)
    assert await settle(world, "h2", Outcome.DONE, bytes=70, objects=1) == "doubt"
    assert await charged(world) == (100, 1)


async def test_a_dead_workers_holds_become_doubt(world: World) -> None:
    await put(world, "h1", 100)
    await world.live.reap(1.0)
    usage = await world.usage()
    assert (usage["hb"], usage["db"]) == (0, 100)


# Multipart.


async def begin(world: World, upload: str = "up1", key: bytes = b"k") -> None:
    assert await world.gate.begin_upload("ws1", upload, key, "node1", "sealed") is None


async def part(world: World, hold: str, number: int, size: int, upload: str = "up1") -> str:
    answer = await world.gate.admit(
        "A", "photos", 2, "part", hold, b"k", size=size, upload=upload, part=number
    )
    return answer.code.value if isinstance(answer, Denial) else answer.duty


async def test_parts_wait_and_a_complete_becomes_the_object(world: World) -> None:
    await store(world, 10)
    await begin(world)
    for number, size in ((1, 100), (2, 50), (3, 7)):
        assert await part(world, f"p{number}", number, size) == "known"
        assert await settle(world, f"p{number}", Outcome.DONE, bytes=size) == "ok"
    usage = await world.usage()
    assert (usage["b"], usage["mb"], usage["o"]) == (167, 157, 1)
    assert await put(world, "c", -1, kind="complete", upload="up1") == "read"
    assert await world.gate.size("c", base=10, base_objects=1, size=0, objects=1, parts=[1, 2]) == 150
    assert await charged(world) == (167, 1)
    assert await settle(world, "c", Outcome.DONE, bytes=150, objects=1) == "ok"
    usage = await world.usage()
    assert (usage["b"], usage["mb"], usage["o"], usage["hb"]) == (150, 0, 1, 0)
    assert await clean(world)
    assert await part(world, "late", 4, 5) == "NoSuchUpload"


async def test_a_retried_part_replaces_the_earlier(world: World) -> None:
    await begin(world)
    for hold, size in (("a", 100), ("b", 40)):
        await part(world, hold, 1, size)
        await settle(world, hold, Outcome.DONE, bytes=size)
    assert (await world.usage())["mb"] == 40
    assert await world.gate.end_upload("ws1", "up1") == 40
    assert await charged(world) == (0, 0)
    assert await world.gate.end_upload("ws1", "up1") == 0


async def test_a_complete_that_failed_changes_nothing(world: World) -> None:
    await begin(world)
    await part(world, "a", 1, 100)
    await settle(world, "a", Outcome.DONE, bytes=100)
    await put(world, "c", -1, kind="complete", upload="up1")
    refused = await world.gate.size("c", base=0, size=0, objects=1, parts=[1, 9])
    assert refused == Denial(DenialCode.INVALID_PART, ("9",))
    assert await charged(world) == (100, 0)
    await put(world, "c2", -1, kind="complete", upload="up1")
    assert await world.gate.size("c2", base=0, size=0, objects=1, parts=[1]) == 100
    assert await settle(world, "c2", Outcome.NONE) == "ok"
    assert await charged(world) == (100, 0)


async def test_a_complete_needs_no_room_beside_its_parts(world: World) -> None:
    await world.limit("w:ws1", bytes=100)
    await begin(world)
    await part(world, "a", 1, 100)
    await settle(world, "a", Outcome.DONE, bytes=100)
    await put(world, "c", -1, kind="complete", upload="up1")
    assert await world.gate.size("c", base=0, size=0, objects=1, parts=[1]) == 100
    assert await settle(world, "c", Outcome.DONE, bytes=100, objects=1) == "ok"
    assert await charged(world) == (100, 1)


async def test_a_complete_racing_a_put_never_charges_less_than_is_stored(world: World) -> None:
    await begin(world)
    await part(world, "a", 1, 100)
    await settle(world, "a", Outcome.DONE, bytes=100)
    await put(world, "c", -1, kind="complete", upload="up1")
    assert await put(world, "p", 30) == "wait"
    assert await world.gate.size("c", base=0, size=0, objects=1, parts=[1]) == 100
    assert await world.gate.size("p") == 30
    assert await settle(world, "c", Outcome.DONE, bytes=100, objects=1) == "ok"
    assert (await charged(world))[0] >= 100
    assert await settle(world, "p", Outcome.DONE, bytes=30, objects=1) == "look"
    assert await settle(world, "p", Outcome.LOOK, bytes=100, objects=1) == "ok"
    assert await charged(world) == (100, 1)


async def test_a_deleted_workspace_takes_its_usage_along(world: World) -> None:
    await store(world, 100)
    await world.define("workspace", "ws1", None)
    assert await charged(world, "u:alice") == (0, 0)
    assert await charged(world, "r:root1") == (0, 0)


async def test_a_transferred_workspace_is_charged_to_its_new_owner(world: World) -> None:
    await store(world, 100)
    record = await world.live.workspace("ws1")
    assert record is not None
    await world.define("workspace", "ws1", {**record, "owner": "bob", "names": ["bob.photos"]})
    assert await charged(world, "u:alice") == (0, 0)
    assert await charged(world, "u:bob") == (100, 1)
    assert await charged(world, "r:root1") == (100, 1)


async def test_a_look_that_others_overtook_is_taken_again(world: World) -> None:
    await put(world, "a", 10)
    await world.gate.size("a", base=0)
    await put(world, "b", 20)
    await settle(world, "a", Outcome.DONE, bytes=10, objects=1)
    assert await settle(world, "b", Outcome.DONE, bytes=20, objects=1) == "look"
    # While b looks, and finds 20, c stores 50 and ends.
    assert await put(world, "c", 50) == "known"
    assert await settle(world, "c", Outcome.DONE, bytes=50, objects=1) == "ok"
    assert await settle(world, "b", Outcome.LOOK, bytes=20, objects=1) == "look"
    assert await settle(world, "b", Outcome.LOOK, bytes=50, objects=1) == "ok"
    assert await charged(world) == (50, 1)
    assert await clean(world)


async def test_an_abort_beside_a_complete_gives_nothing_back_before_that_has_ended(world: World) -> None:
    await begin(world)
    await part(world, "a", 1, 100)
    await settle(world, "a", Outcome.DONE, bytes=100)
    await put(world, "c", -1, kind="complete", upload="up1")
    await world.gate.size("c", base=0, size=0, objects=1, parts=[1])
    # The node has made the object, so the abort got 404; the answer to the Complete is still under way.
    assert await world.gate.end_upload("ws1", "up1") == 0
    assert await charged(world) == (100, 1)
    assert await settle(world, "c", Outcome.DONE, bytes=100, objects=1) == "ok"
    assert await charged(world) == (100, 1)
    assert (await world.usage())["mb"] == 0


async def test_an_abort_beside_a_complete_that_fails_frees_the_parts(world: World) -> None:
    await begin(world)
    await part(world, "a", 1, 100)
    await settle(world, "a", Outcome.DONE, bytes=100)
    await put(world, "c", -1, kind="complete", upload="up1")
    await world.gate.size("c", base=0, size=0, objects=1, parts=[1])
    await world.gate.end_upload("ws1", "up1")
    assert await settle(world, "c", Outcome.NONE) == "ok"
    assert await charged(world) == (0, 0)


async def test_a_part_cut_and_tried_again_completes_by_a_look(world: World) -> None:
    await begin(world)
    await part(world, "a", 1, 100)
    assert await settle(world, "a", Outcome.DOUBT) == "doubt"
    await part(world, "b", 1, 100)
    assert await settle(world, "b", Outcome.DONE, bytes=100) == "doubt"
    await put(world, "c", -1, kind="complete", upload="up1")
    assert await world.gate.size("c", base=0, size=0, objects=1, parts=[1]) == 100
    assert await settle(world, "c", Outcome.DONE, bytes=100, objects=1) == "look"
    assert await settle(world, "c", Outcome.LOOK, bytes=100, objects=1) == "ok"
    # The part stays in doubt beside it until a look finds that it is gone.
    assert (await world.usage())["b"] == 100
    assert (await charged(world))[0] == 200


async def test_a_part_stored_for_an_upload_that_ended_is_told(world: World) -> None:
    await begin(world)
    await part(world, "a", 1, 100)
    await world.gate.end_upload("ws1", "up1")
    assert await settle(world, "a", Outcome.DONE, bytes=100) == "orphan"
    assert await charged(world) == (0, 0)


async def test_a_write_under_way_moves_with_its_workspace(world: World) -> None:
    await put(world, "h", 100)
    record = await world.live.workspace("ws1")
    assert record is not None
    await world.define("workspace", "ws1", {**record, "owner": "bob", "names": ["bob.photos"]})
    assert await charged(world, "u:alice") == (0, 0)
    await settle(world, "h", Outcome.DONE, base_bytes=0, base_objects=0, bytes=100, objects=1)
    assert await charged(world, "u:alice") == (0, 0)
    assert await charged(world, "u:bob") == (100, 1)
    await put(world, "late", 5)
    await world.define("workspace", "ws1", None)
    await settle(world, "late", Outcome.DONE, base_bytes=100, base_objects=1, bytes=5, objects=1)
    assert await charged(world, "u:bob") == (0, 0)


async def test_a_new_epoch_is_told_what_was_released_and_counts_it_in_full(world: World) -> None:
    await world.limit("w:ws1", bytes=50)
    world.gate.released["lost"] = Stake("ws1", "put", b"k", size=100, objects=1)
    assert await world.gate.reassert(world.gate.epoch, "worker1") == 1
    assert await charged(world) == (100, 1)
    assert await world.gate.reassert(world.gate.epoch, "worker1") == 0
    # Its base is lost with the old state: only a recount can tell what it replaced.
    assert (
        await settle(world, "lost", Outcome.DONE, base_bytes=30, base_objects=1, bytes=100, objects=1)
        == "doubt"
    )
    assert await charged(world) == (100, 1)
    assert world.gate.released == {}


async def test_numbers_up_to_two_to_the_53_are_exact(world: World) -> None:
    most = 2**53
    await world.limit("w:ws1", bytes=most)
    for n in range(3):
        await world.live.redis.hincrby(world.live.layout["USAGE"], "w:ws1:b", most // 3 - n)
    used = 3 * (most // 3) - 3
    assert await put(world, "over", most - used + 1) == "size"
    assert await put(world, "fits", most - used, b"other") == "read"
    assert (await world.usage())["hb"] == most - used


async def test_a_recount_holds_up_the_writes_of_one_versioned_key_for_a_moment(world: World) -> None:
    (workspace,) = [change.value for change in world.changes() if change.id == "ws1"]
    assert workspace is not None
    versioned = Change("workspace", "ws1", next(world.versions), {**workspace, "versioned": True})
    await world.live.apply([versioned])
    epoch = await world.live.epoch()

    async def ask(verb: str, *args: str | int) -> str:
        return (await world.live.run(verb, epoch, "ws1", "recount1", *args))[0].decode()

    assert await ask("recount_begin") == "ok"
    assert await put(world, "h1", 10) == "known"
    assert await ask("recount_pause", 60_000, "ws1|kk") == "no"  # not before the listing is done
    assert await ask("recount_listed") == "ok"
    assert await ask("recount_pause", 60_000, "ws1|kk") == "ok"
    assert await put(world, "h2", 10) == "Recounting"
    assert await put(world, "h3", 10, b"other") == "known"
    # What was admitted before ends as ever, and the next look finds the key still.
    done = {"base_bytes": 0, "base_objects": 0, "bytes": 10, "objects": 1}
    assert await settle(world, "h1", Outcome.DONE, **done) == "ok"
    assert await ask("recount_pause", 0, "ws1|kk") == "ok"
    assert await put(world, "h2", 10) == "known"
    assert await settle(world, "h2", Outcome.NONE) == "ok"
    assert await settle(world, "h3", Outcome.DONE, **done) == "ok"
    dirty = await world.live.run("recount_dirty", epoch, "recount1")
    changes = dict(zip(dirty[1::2], dirty[2::2], strict=True))[b"ws1|kk"].split(b":")[0]
    found = json.dumps({"ws1|kk": [10, 1, int(changes)]})
    assert await ask("recount_finish", 0, 0, 0, 0, "{}", found, "{}") == "ok"
    assert await charged(world) == (20, 2)
    assert not await world.live.redis.hlen(world.live.layout["DIRTY"])
