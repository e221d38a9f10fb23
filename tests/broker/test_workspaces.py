"""Nodes, roots and workspaces on a real MinIO."""

from __future__ import annotations

import asyncio
from typing import Any

import boto3
import pytest
from botocore.config import Config

from broker.handlers import call_handlers
from broker.nodes.address import clean_endpoint, is_allowed
from broker.policy import SYSTEM
from broker.workspaces import places
from broker.workspaces.models import Workspace
from tests.broker.conftest import Start, World
from tests.servers import Minio


def s3(minio: Minio) -> Any:
    return boto3.client(
        "s3", endpoint_url=minio.endpoint, aws_access_key_id=minio.access_key,
        aws_secret_access_key=minio.secret_key, region_name="us-east-1", config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip


async def place(world: World, workspace: str) -> tuple[str, str]:
    record = await world.broker.live.workspace(workspace)
    assert record is not None
    return record["bucket"], record["prefix"]


async def test_a_workspace_lies_under_its_owner_and_id_and_renames_move_nothing(stored: World) -> None:
    jane = await stored.user("jane.doe")
    made = await jane.ok("POST", "/workspaces", {"name": "photos"})
    assert (made["bucket"], made["owner"], made["permission"]) == ("jane-doe.photos", "jane-doe", "own")
    _, prefix = await place(stored, made["id"])
    assert prefix == f"jane-doe/photos.{made['id']}/"
    assert "prefix" not in made
    await jane.ok("POST", "/workspaces/photos/alias", {"name": "pictures"})
    renamed = await jane.ok("POST", "/workspaces/photos/rename", {"name": "album"})
    assert (renamed["name"], renamed["aliases"]) == ("album", ["pictures"])
    assert (await place(stored, made["id"]))[1] == prefix
    for name in ("album", "pictures", "jane-doe.album", "jane-doe.pictures", made["id"]):
        assert (await jane.ok("GET", f"/workspaces/{name}"))["id"] == made["id"]
    assert await jane.refused("GET", "/workspaces/photos") == (404, "NotFound")
    record = await stored.broker.live.workspace(made["id"])
    assert record is not None
    assert record["names"] == ["jane-doe.album", "jane-doe.pictures"]
    assert await jane.refused("POST", "/workspaces", {"name": "album"}) == (409, "BucketAlreadyOwnedByYou")
    for bad in ("ab", "Upper", "-lead", "dot.ted", "minio", "x" * 62):
        assert (await jane.refused("POST", "/workspaces", {"name": bad}))[0] == 400


async def test_others_neither_see_nor_touch_it_and_admins_only_manage(stored: World) -> None:
    jane, bob = await stored.user("jane"), await stored.user("bob")
    await jane.ok("POST", "/workspaces", {"name": "photos"})
    assert await bob.refused("GET", "/workspaces/jane.photos") == (404, "NotFound")
    assert await bob.refused("DELETE", "/workspaces/jane.photos", purge="true") == (404, "NotFound")
    assert await bob.refused("POST", "/workspaces", {"name": "photos", "owner": "jane"}) == (
        403,
        "AccessDenied",
    )
    seen = await stored.admin.ok("GET", "/workspaces/jane.photos")
    assert seen["permission"] is None
    assert await stored.admin.ok("GET", "/workspaces") == []
    assert len(await stored.admin.ok("GET", "/workspaces", all="true")) == 1


async def test_delete_wants_it_empty_or_a_purge(stored: World, minio: Minio) -> None:
    jane = await stored.user("jane")
    made = await jane.ok("POST", "/workspaces", {"name": "photos"})
    bucket, prefix = await place(stored, made["id"])
    client = s3(minio)
    for number in range(3):
        await asyncio.to_thread(client.put_object, Bucket=bucket, Key=f"{prefix}a b&<{number}>", Body=b"x")
    await asyncio.to_thread(client.put_object, Bucket=bucket, Key=prefix[:-1] + "2/other", Body=b"x")
    assert await jane.refused("DELETE", "/workspaces/photos") == (409, "BucketNotEmpty")
    assert (await jane.ok("GET", "/workspaces/photos"))["state"] == "open"
    gone = await jane.ok("DELETE", "/workspaces/photos", purge="true")
    assert gone["revoked"] == [made["id"]]
    left = await asyncio.to_thread(client.list_objects_v2, Bucket=bucket, Prefix="jane/")
    assert [entry["Key"] for entry in left["Contents"]] == [prefix[:-1] + "2/other"]
    assert await stored.broker.live.workspace(made["id"]) is None
    again = await jane.ok("POST", "/workspaces", {"name": "photos"})
    assert again["id"] != made["id"]
    await jane.ok("DELETE", "/workspaces/photos")


async def test_unfinished_uploads_are_content_and_a_purge_aborts_them(stored: World, minio: Minio) -> None:
    made = await stored.admin.ok("POST", "/workspaces", {"name": "photos"})
    bucket, prefix = await place(stored, made["id"])
    client, live = s3(minio), stored.broker.live
    begun = await asyncio.to_thread(client.create_multipart_upload, Bucket=bucket, Key=prefix + "big")
    sealed = stored.broker.sealer.seal(begun["UploadId"].encode(), b"node-upload")
    await live.run("begin_upload", await live.epoch(), made["id"], "upload-1", "big", "node", sealed)
    assert await stored.admin.refused("DELETE", "/workspaces/photos") == (409, "BucketNotEmpty")
    await stored.admin.ok("DELETE", "/workspaces/photos", purge="true")
    left = await asyncio.to_thread(client.list_multipart_uploads, Bucket=bucket, Prefix=prefix + "big")
    assert "Uploads" not in left
    assert await live.hget("UPLOADS", "upload-1") is None


async def test_a_deletion_that_a_broker_left_half_done_is_done_again(stored: World) -> None:
    made = await stored.admin.ok("POST", "/workspaces", {"name": "photos"})
    async with stored.broker.change(SYSTEM) as unit:
        (await unit.session.get_one(Workspace, made["id"])).state = "draining"
        unit.touch("workspace", made["id"])
    assert (await stored.admin.ok("DELETE", "/workspaces/photos"))["revoked"] == [made["id"]]
    assert await stored.broker.live.workspace(made["id"]) is None


async def test_who_deletes_and_is_revoked_meanwhile_leaves_it_open(
    stored: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = await stored.user("bob")
    await bob.ok("POST", "/workspaces", {"name": "photos"})
    drain = places._drain

    async def drain_and_revoke(*args: Any) -> None:
        await drain(*args)
        await stored.admin.ok("POST", "/users/bob/disable")

    monkeypatch.setattr(places, "_drain", drain_and_revoke)
    assert await bob.refused("DELETE", "/workspaces/photos") == (403, "AccessDenied")
    assert (await stored.admin.ok("GET", "/workspaces/bob.photos"))["state"] == "open"


async def test_transfer_takes_names_along_and_makes_the_heir_the_owner(stored: World) -> None:
    jane, bob = await stored.user("jane"), await stored.user("bob")
    made = await jane.ok("POST", "/workspaces", {"name": "photos"})
    await jane.ok("POST", "/shares", {"workspace": "photos", "principal": "bob", "permission": "own"})
    assert await bob.refused("POST", "/workspaces/jane.photos/transfer", {"to": "bob"}) == (
        403,
        "AccessDenied",
    )
    await jane.ok("POST", "/workspaces/photos/transfer", {"to": "bob"})
    assert (await bob.ok("GET", "/workspaces/photos"))["id"] == made["id"]
    assert await bob.ok("GET", "/shares", workspace="photos") == []
    assert await jane.refused("GET", "/workspaces/bob.photos") == (404, "NotFound")
    await bob.ok("POST", "/workspaces", {"name": "more"})
    assert await stored.admin.refused("DELETE", "/users/bob") == (409, "Conflict")
    await stored.admin.ok("DELETE", "/users/bob", transfer_to="jane")
    assert {row["bucket"] for row in await jane.ok("GET", "/workspaces")} == {"jane.photos", "jane.more"}
    await stored.admin.ok("DELETE", "/users/jane", purge="true")
    assert await stored.admin.ok("GET", "/workspaces", all="true") == []


async def test_prefixes_never_overlap_in_a_physical_bucket(stored: World, minio: Minio) -> None:
    bucket = "data-" + stored.broker.settings.realm
    node = {
        "name": "again", "endpoint": minio.endpoint.replace("127.0.0.1", "localhost"),
        "access_key_id": minio.access_key, "secret_access_key": minio.secret_key,
    }  # fmt: skip
    await stored.admin.ok("POST", "/nodes", node)
    for name, where in (("old", "local"), ("same", "again")):
        body = {"name": name, "node": where, "bucket": bucket, "kind": "unmanaged"}
        await stored.admin.ok("POST", "/roots", body)
    make = stored.admin.ok
    await make("POST", "/workspaces", {"name": "data", "root": "old", "prefix": "lab/data"})
    for root, prefix in (("old", "lab/data/sub/"), ("same", "lab"), ("same", "lab/data"), ("old", "")):
        body = {"name": "other", "root": root, "prefix": prefix}
        assert await stored.admin.refused("POST", "/workspaces", body) == (409, "PrefixOverlap")
    await make("POST", "/workspaces", {"name": "data2", "root": "same", "prefix": "lab/data2"})
    managed = {"name": "managed", "node": "again", "bucket": bucket, "kind": "private", "prefix": "lab"}
    assert await stored.admin.refused("POST", "/roots", managed) == (409, "PrefixOverlap")
    for bad in ("a//b", "../x", "a/./b"):
        body = {"name": "other", "root": "old", "prefix": bad}
        assert await stored.admin.refused("POST", "/workspaces", body) == (400, "InvalidRequest")


async def test_import_makes_workspaces_of_first_level_prefixes(stored: World, minio: Minio) -> None:
    bucket, client = "old-" + stored.broker.settings.realm, s3(minio)
    await stored.admin.ok(
        "POST", "/roots", {"name": "old", "node": "local", "bucket": bucket, "kind": "unmanaged"}
    )
    for key in ("alpha/1", "alpha/2", "Beta Set/x", "z/1", "loose"):
        await asyncio.to_thread(client.put_object, Bucket=bucket, Key=key, Body=b"x")
    await stored.admin.ok("POST", "/workspaces", {"name": "mine", "root": "old", "prefix": "alpha/"})
    rows = {row["prefix"]: row for row in await stored.admin.ok("POST", "/roots/old/import")}
    assert rows["Beta Set"]["bucket"] == "admin.beta-set"
    assert rows["alpha"]["reason"]
    assert rows["z"]["reason"]
    assert (await place(stored, rows["Beta Set"]["id"]))[1] == "Beta Set/"
    bob = await stored.user("bob")
    assert await bob.refused("POST", "/roots/old/import") == (403, "AccessDenied")
    assert await bob.refused("POST", "/workspaces", {"name": "zzz", "root": "old", "prefix": "z"}) == (
        403,
        "AccessDenied",
    )
    await stored.admin.ok("PUT", "/roots/old/grants", {"principal": "bob", "permission": "manage"})
    await bob.ok("POST", "/workspaces", {"name": "zzz", "root": "old", "prefix": "z"})


async def test_who_may_create_in_a_root(stored: World) -> None:
    bob = await stored.user("bob")
    await stored.admin.ok("DELETE", "/roots/local/grants", principal="everyone", permission="create")
    assert await bob.refused("POST", "/workspaces", {"name": "photos"}) == (403, "AccessDenied")
    await stored.admin.ok("POST", "/groups", {"name": "lab"})
    await stored.admin.ok("PUT", "/groups/lab/members/bob")
    await stored.admin.ok("PUT", "/roots/local/grants", {"principal": "group:lab", "permission": "create"})
    await bob.ok("POST", "/workspaces", {"name": "photos"})
    shown = await bob.ok("GET", "/roots/local")
    assert "bucket" not in shown
    assert shown["may_create"]
    assert await bob.refused("DELETE", "/roots/local") == (403, "AccessDenied")
    assert await stored.admin.refused("DELETE", "/roots/local") == (409, "RootInUse")


async def test_nodes_are_reached_before_they_are_kept_and_belong_to_their_maker(
    stored: World, minio: Minio
) -> None:
    jane, bob = await stored.user("jane"), await stored.user("bob")
    body = {
        "name": "mine", "endpoint": minio.endpoint, "access_key_id": minio.access_key,
        "secret_access_key": minio.secret_key,
    }  # fmt: skip
    for wrong in ({"secret_access_key": "wrong-secret"}, {"endpoint": "http://127.0.0.1:1"}):
        assert await jane.refused("POST", "/nodes", body | wrong) == (502, "NodeUnavailable")
    node = await jane.ok("POST", "/nodes", body)
    assert node["addresses"] == ["127.0.0.1"]
    assert minio.secret_key not in str(node)
    assert "endpoint" not in await bob.ok("GET", "/nodes/mine")
    for method, path, change in (
        ("PATCH", "/nodes/mine", {"region": "eu"}), ("DELETE", "/nodes/mine", None),
        ("POST", "/roots", {"name": "r", "node": "mine", "bucket": "bbb"}),
    ):  # fmt: skip
        assert await bob.refused(method, path, change) == (403, "AccessDenied")
    moved = {"endpoint": "http://127.0.0.1:1"}
    assert await jane.refused("PATCH", "/nodes/mine", moved) == (400, "InvalidRequest")
    root = await jane.ok(
        "POST", "/roots", {"name": "r", "node": "mine", "bucket": "r-" + stored.broker.settings.realm}
    )
    assert root["kind"] == "private"
    assert (await jane.ok("POST", "/nodes/mine/check"))["checks_payload"] is True
    assert await jane.refused("DELETE", "/nodes/mine") == (409, "NodeInUse")
    await jane.ok("DELETE", "/roots/r")
    await jane.ok("DELETE", "/nodes/mine")


async def test_a_role_at_a_node_is_refused_and_not_ignored(stored: World, minio: Minio) -> None:
    node = {
        "name": "role", "endpoint": minio.endpoint, "access_key_id": minio.access_key,
        "secret_access_key": minio.secret_key,
    }  # fmt: skip
    for more in ({"role_arn": "arn:aws:iam::123456789012:role/x"}, {"sts_url": minio.endpoint}):
        assert await stored.admin.refused("POST", "/nodes", node | more) == (501, "NotImplemented")
        assert await stored.admin.refused("PATCH", "/nodes/local", more) == (501, "NotImplemented")


async def test_a_node_is_no_way_into_our_own_network(start: Start) -> None:
    async with start(allowed_networks=()) as world:
        for endpoint in (
            "http://127.0.0.1:6379", "http://localhost:9000", "http://[::1]:80", "http://169.254.169.254",
            "http://10.0.0.1", "http://0.0.0.0", "http://[::ffff:127.0.0.1]", "http://2130706433",
        ):  # fmt: skip
            body = {"name": "n", "endpoint": endpoint, "access_key_id": "a", "secret_access_key": "b"}
            assert await world.admin.refused("POST", "/nodes", body) == (400, "InvalidRequest"), endpoint


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h",
        "http://",
        "http://u:p@h",
        "http://h/path",
        "http://h?x",
        "http://h:99999",
        "h:80",
        "http://h h",
    ],
)
def test_an_endpoint_is_scheme_host_and_port(url: str) -> None:
    from broker.errors import ApiError

    with pytest.raises(ApiError):
        clean_endpoint(url)


def test_addresses_that_wrap_another_are_judged_by_both() -> None:
    from ipaddress import ip_address, ip_network

    assert not is_allowed(ip_address("64:ff9b::7f00:1"), ())
    assert not is_allowed(ip_address("2002:7f00:1::"), ())
    assert is_allowed(ip_address("8.8.8.8"), ())
    assert is_allowed(ip_address("10.1.2.3"), (ip_network("10.0.0.0/8"),))


async def test_the_proxy_makes_and_removes_buckets_by_call(stored: World) -> None:
    jane, bob = await stored.user("jane"), await stored.user("bob")
    handlers = call_handlers(stored.broker, None)
    ids = {row["name"]: row["id"] for row in await stored.admin.ok("GET", "/users")}

    async def create(client: Any, name: str, **other: Any) -> Any:
        who = "jane" if client is jane else "bob"
        payload = {
            "user": ids[who],
            "access_key_id": client.access_key_id,
            "name": name,
            "request_id": "R",
        } | other
        return await handlers["create_workspace"](payload)

    made = (await create(jane, "photos"))["workspace"]
    assert (await create(jane, "photos"))["error"]["code"] == "BucketAlreadyOwnedByYou"
    assert (await create(jane, "jane.photos"))["error"]["code"] == "BucketAlreadyOwnedByYou"
    assert (await create(bob, "jane.photos"))["error"]["code"] == "AccessDenied"
    await jane.ok("POST", "/shares", {"workspace": "photos", "principal": "everyone", "permission": "read"})
    assert (await create(bob, "jane.photos"))["error"]["status"] == 409
    assert (await create(bob, "Not_A_Name"))["error"]["code"] == "InvalidBucketName"
    assert (await create(bob, "photos", user=ids["jane"]))["error"]["code"] == "AccessDenied"
    payload = {"user": ids["bob"], "access_key_id": bob.access_key_id, "workspace": made, "request_id": "R"}
    assert (await handlers["delete_workspace"](payload))["error"]["code"] == "AccessDenied"
    payload |= {"user": ids["jane"], "access_key_id": jane.access_key_id}
    assert await handlers["delete_workspace"](payload) == {}


async def test_an_owner_is_named_alike_everywhere(stored: World) -> None:
    """A login that was deleted and made again has a handle with a number, and is found by either."""
    admin = stored.admin
    await stored.user("jane")
    await admin.ok("DELETE", "/users/jane")
    jane = await stored.user("jane")
    await stored.user("bob")
    made = await admin.ok("POST", "/workspaces", {"name": "photos", "owner": "jane"})
    assert made["bucket"] == "jane-2.photos"
    for name in ("jane/photos", "jane.photos", "jane-2/photos", "jane-2.photos"):
        share = {"workspace": name, "principal": "bob", "permission": "read"}
        assert (await jane.ok("POST", "/shares", share))["workspace"] == "jane-2.photos"
        assert (await jane.ok("GET", "/shares", workspace=name))[0]["workspace"] == "jane-2.photos"
        limit = {"level": "workspace", "subject": name, "bytes": 1000}
        assert (await admin.ok("PUT", "/quotas", limit))["subject"] == "jane-2.photos"
    told = await admin.ok("GET", "/why", user="bob", action="read", bucket="jane.photos")
    assert told["allowed"] is True
    # A handle that is somebody's is theirs, whose login it is besides.
    await stored.user("jane-2")
    assert (await admin.ok("POST", "/workspaces", {"name": "other", "owner": "jane-2"}))["owner"] == "jane-2"
    assert (await jane.ok("GET", "/workspaces/jane-2.other"))["bucket"] == "jane-2.other"
    assert await jane.refused("GET", "/workspaces/nobody.photos") == (404, "NotFound")
