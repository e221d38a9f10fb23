"""Both planes at once: when keys were used, and workspaces that are deleted while clients are at work in them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from broker.settings import Settings
from tests import servers
from tests.broker.conftest import Client, Start
from tests.broker.test_planes import Planes, planes, until
from tests.proxy.flows import Upload


@pytest.fixture
async def both(
    start: Start, settings: Settings, minio: servers.Minio, valkey: servers.Valkey, tmp_path: Path
) -> AsyncIterator[Planes]:
    async with planes(start, settings, minio, tmp_path, valkey.url) as running:
        yield running


def at_node(minio: servers.Minio) -> Any:
    return boto3.client(
        "s3", endpoint_url=minio.endpoint, aws_access_key_id=minio.access_key,
        aws_secret_access_key=minio.secret_key, region_name="us-east-1",
    )  # fmt: skip


async def key_of(who: Client, access_key_id: str) -> dict[str, Any]:
    rows = [*await who.ok("GET", "/keys"), *await who.ok("GET", "/tokens")]
    (row,) = [row for row in rows if row["access_key_id"] == access_key_id]
    found: dict[str, Any] = row
    return found


async def test_lists_show_when_a_key_or_token_was_last_used(both: Planes) -> None:
    began = time.time() - 1
    spare = await both.alice.ok("POST", "/keys", {"name": "spare"})
    token = await both.alice.ok("POST", "/tokens", {"workspaces": ["photos"]})
    assert (spare["last_used_at"], token["last_used_at"]) == (None, None)
    for made in (spare, token):
        assert (await key_of(both.alice, made["access_key_id"]))["last_used_at"] is None

    def at(row: dict[str, Any]) -> float:
        return datetime.fromisoformat(row["last_used_at"]).timestamp() if row["last_used_at"] else 0.0

    assert began <= at(await key_of(both.alice, both.alice.access_key_id)) <= time.time() + 1

    client = both.s3(Client(both.world.http, spare["access_key_id"], spare["secret_access_key"]))
    await asyncio.to_thread(client.head_object, Bucket="photos", Key="big")
    session = boto3.session.Session().client(
        "s3", endpoint_url=both.endpoint, aws_access_key_id=token["access_key_id"],
        aws_secret_access_key=token["secret_access_key"], aws_session_token=token["session_token"],
        region_name="us-east-1",
    )  # fmt: skip
    await asyncio.to_thread(session.list_objects_v2, Bucket="photos")
    for made in (spare, token):

        async def used(access_key_id: str = made["access_key_id"]) -> bool:
            return began <= at(await key_of(both.alice, access_key_id)) <= time.time() + 1

        await until(used, 40)
    with pytest.raises(ClientError):
        await asyncio.to_thread(both.s3(both.bob).head_object, Bucket="alice.photos", Key="big")


async def test_a_workspace_is_purged_under_transfers_and_nothing_of_it_stays(
    both: Planes, minio: servers.Minio
) -> None:
    alice = both.s3(both.alice)
    made = await both.alice.ok("GET", "/workspaces/photos")
    record = await both.world.broker.live.workspace(made["id"])
    assert record is not None
    upload = await asyncio.to_thread(alice.create_multipart_upload, Bucket="photos", Key="parts")
    await asyncio.to_thread(
        alice.upload_part, Bucket="photos", Key="parts", UploadId=upload["UploadId"], PartNumber=1,
        Body=b"x" * (5 << 20),
    )  # fmt: skip
    down = await both.download(both.alice, "photos")
    up = Upload(alice.generate_presigned_url("put_object", Params={"Bucket": "photos", "Key": "up"}), 1 << 28)
    up.start()
    await asyncio.to_thread(up.wait_moving)

    assert await both.alice.refused("DELETE", "/workspaces/photos") == (409, "BucketNotEmpty")
    assert (await both.alice.ok("GET", "/workspaces/photos"))["state"] == "open"
    gone = await both.alice.ok("DELETE", "/workspaces/photos", purge="true")
    assert gone["revoked"] == [made["id"]]
    assert await asyncio.to_thread(down.wait_end) == "cut"
    assert await asyncio.to_thread(up.wait_end) == "cut"
    assert not await both.allowed(both.alice, "photos")

    node = at_node(minio)
    left = await asyncio.to_thread(
        node.list_object_versions, Bucket=record["bucket"], Prefix=record["prefix"]
    )
    assert "Versions" not in left
    uploads = await asyncio.to_thread(
        node.list_multipart_uploads, Bucket=record["bucket"], Prefix=record["prefix"] + "parts"
    )
    assert "Uploads" not in uploads
    (total,) = await both.alice.ok("GET", "/quotas", level="user", subject="alice")
    assert (total["used_bytes"], total["held_bytes"], total["doubt_bytes"], total["multipart_bytes"]) == (
        0,
    ) * 4
    assert total["used_objects"] == 0

    again = await both.alice.ok("POST", "/workspaces", {"name": "photos"})
    assert again["id"] != made["id"]
    assert "Contents" not in await asyncio.to_thread(alice.list_objects_v2, Bucket="photos")
    with pytest.raises(ClientError, match="NoSuchUpload"):
        await asyncio.to_thread(alice.list_parts, Bucket="photos", Key="parts", UploadId=upload["UploadId"])


async def test_deleting_waits_for_a_write_and_keeps_what_it_wrote(both: Planes) -> None:
    alice = both.s3(both.alice)
    await both.alice.ok("POST", "/workspaces", {"name": "inbox"})
    url = alice.generate_presigned_url("put_object", Params={"Bucket": "inbox", "Key": "up"})
    up = Upload(url, 4 << 20)
    up.start()
    await asyncio.to_thread(up.wait_moving)
    assert await both.alice.refused("DELETE", "/workspaces/inbox") == (409, "BucketNotEmpty")
    assert await asyncio.to_thread(up.wait_end) == "whole"
    assert up.status == 200
    assert (await asyncio.to_thread(alice.head_object, Bucket="inbox", Key="up"))["ContentLength"] == 4 << 20


async def test_old_versions_and_delete_markers_are_content_and_are_purged(
    both: Planes, minio: servers.Minio
) -> None:
    node, bucket = at_node(minio), "versions-" + both.world.broker.settings.realm
    await asyncio.to_thread(node.create_bucket, Bucket=bucket)
    await asyncio.to_thread(
        node.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    root = {"name": "kept", "node": "local", "bucket": bucket, "kind": "private"}
    await both.world.admin.ok("POST", "/roots", root)
    made = await both.alice.ok("POST", "/workspaces", {"name": "docs", "root": "kept"})
    alice = both.s3(both.alice)

    def work() -> None:
        for body in (b"one", b"four", b"seven"):
            alice.put_object(Bucket="docs", Key="a b&<c>", Body=body)
        alice.delete_object(Bucket="docs", Key="a b&<c>")
        alice.create_multipart_upload(Bucket="docs", Key="parts")

    await asyncio.to_thread(work)
    assert "Contents" not in await asyncio.to_thread(alice.list_objects_v2, Bucket="docs")
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        await asyncio.to_thread(alice.delete_bucket, Bucket="docs")
    kept = await asyncio.to_thread(node.list_object_versions, Bucket=bucket)
    assert (len(kept["Versions"]), len(kept["DeleteMarkers"])) == (3, 1)
    assert (await both.alice.ok("DELETE", "/workspaces/docs", purge="true"))["revoked"] == [made["id"]]
    left = await asyncio.to_thread(node.list_object_versions, Bucket=bucket)
    assert "Versions" not in left
    assert "DeleteMarkers" not in left
    (total,) = await both.alice.ok("GET", "/quotas", level="user-root", subject="alice", root="kept")
    assert (total["used_bytes"], total["used_objects"]) == (0, 0)
