"""Revoked means now: with several workers and proxies, under running transfers, past stopped and killed workers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from broker.stack.child import wait_until
from quota import Change
from tests import servers
from tests.proxy.flows import ALLOWANCE, Download, Flow, Upload
from tests.proxy.gates import KEYS, Gate, running_gate, running_proxy, secret_of
from tests.stack.ups import descendants

SIZE = 48 * 1024 * 1024
LEASE = 2.0
MARGIN = 0.25
#: What a loaded machine may add to a promise in seconds.
SLACK = 2.0


@contextmanager
def another_proxy(
    gate: Gate, folder: Path, workers: int = 1
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A second proxy on the same realm: its endpoint and its process."""
    port = servers.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    folder.mkdir(parents=True, exist_ok=True)
    with running_proxy(gate.settings, port, folder / "proxy.log", workers=workers) as process:
        yield endpoint, process


@pytest.fixture(scope="module", params=[1, 4], ids=["one worker", "four workers and another proxy"])
def gate(
    request: pytest.FixtureRequest,
    minio: servers.Minio,
    valkey: servers.Valkey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("gate")
    with running_gate(minio, valkey, folder, workers=request.param) as running, ExitStack() as stack:
        running.endpoints = [running.endpoint]  # type: ignore[attr-defined]
        if request.param > 1:
            endpoint, _process = stack.enter_context(another_proxy(running, folder / "second"))
            running.endpoints.append(endpoint)  # type: ignore[attr-defined]
        running.client().put_object(Bucket="photos", Key="big", Body=os.urandom(SIZE))
        yield running


@pytest.fixture(autouse=True)
def shares(gate: Gate) -> None:
    """Bob may read and write `alice.photos` again, by himself and by nothing else."""
    gate.apply(
        [
            gate.user("bob"),
            gate.key(KEYS["bob"], "bob", secret_of("bob")),
            gate.workspace("photos"),
            gate.grant("photos", "u:bob", 2),
            Change("grant", "wsphotos|g:staff", next(gate.versions), None),
        ]
    )


def url(
    gate: Gate, user: str, bucket: str, key: str, method: str = "get_object", endpoint: str | None = None
) -> str:
    client = gate.client_of(KEYS[user], secret_of(user), endpoint=endpoint)
    signed: str = client.generate_presigned_url(method, Params={"Bucket": bucket, "Key": key}, ExpiresIn=600)
    return signed


def started(flows: list[Any]) -> list[Any]:
    for flow in flows:
        flow.start()
    for flow in flows:
        flow.wait_moving()
    return flows


def downloads(gate: Gate, count: int = 6, user: str = "bob", bucket: str = "alice.photos") -> list[Flow]:
    endpoints: list[str] = gate.endpoints  # type: ignore[attr-defined]
    return started(
        [
            Download(url(gate, user, bucket, "big", endpoint=endpoints[i % len(endpoints)]))
            for i in range(count)
        ]
    )


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    return sorted(descendants(process.pid)) or [process.pid]


def test_a_revoked_share_stops_every_download(gate: Gate) -> None:
    flows = downloads(gate)
    mine = started([Download(url(gate, "alice", "photos", "big"), pause=0.01)])[0]
    acks = gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"])
    moved = [flow.moved for flow in flows]
    assert acks.transfers_cut == len(flows)
    assert acks.workers_unreachable == 0
    assert acks.seconds < LEASE + MARGIN + SLACK
    for flow, before in zip(flows, moved, strict=True):
        assert flow.wait_end() == "cut"
        assert flow.moved - before <= ALLOWANCE
        assert flow.moved < SIZE
    with pytest.raises(ClientError) as refused:
        gate.client("bob").get_object(Bucket="alice.photos", Key="big")
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    assert mine.wait_end() == "whole"


def _disable(gate: Gate) -> tuple[list[Change], list[str]]:
    return [gate.user("bob", enabled=False)], ["u:bob"]


def _delete_key(gate: Gate) -> tuple[list[Change], list[str]]:
    return [Change("credential", KEYS["bob"], next(gate.versions), None)], [f"c:{KEYS['bob']}"]


def _delete_workspace(gate: Gate) -> tuple[list[Change], list[str]]:
    return [gate.workspace("photos", state="closed")], ["w:wsphotos"]


def _change_node(gate: Gate) -> tuple[list[Change], list[str]]:
    return [gate.node()], ["node:node1"]


def _downgrade(gate: Gate) -> tuple[list[Change], list[str]]:
    return [gate.grant("photos", "u:bob", 1)], ["s:share-photos-u-bob"]


@pytest.mark.parametrize("change", [_disable, _delete_key, _delete_workspace, _change_node, _downgrade])
def test_whatever_a_transfer_depends_on_cuts_it(gate: Gate, change: Any) -> None:
    flow = downloads(gate, 1)[0]
    acks = gate.apply(*change(gate))
    before = flow.moved
    assert acks.transfers_cut == 1
    assert flow.wait_end() == "cut"
    assert flow.moved - before <= ALLOWANCE


def test_a_member_removed_from_a_group(gate: Gate) -> None:
    gate.delete("grant", "wsphotos|u:bob")
    gate.apply([gate.user("bob", groups=["staff"]), gate.grant("photos", "g:staff", 1)])
    flow = downloads(gate, 1)[0]
    acks = gate.apply([gate.user("bob", groups=[])], ["g:staff:bob"])
    assert acks.transfers_cut == 1
    assert flow.wait_end() == "cut"


def test_a_reshare_dies_with_the_share_it_came_from(gate: Gate) -> None:
    gate.apply([gate.grant("photos", "u:bob", 1, chain=["upper"])])
    flow = downloads(gate, 1)[0]
    assert gate.delete("grant", "wsphotos|u:bob", ["s:upper"]).transfers_cut == 1
    assert flow.wait_end() == "cut"


def test_the_end_of_a_share_cuts_and_the_end_of_a_session_does_not(gate: Gate) -> None:
    soon = int((time.time() + 3) * 1000)
    gate.apply(
        [
            gate.grant("photos", "u:bob", 1, expires=soon),
            gate.key("WIOSSHORTSHORTSHORT2", "alice", secret_of("short"), kind="key", expires=soon),
        ]
    )
    client = gate.client_of("WIOSSHORTSHORTSHORT2", secret_of("short"))
    session = Download(
        client.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "big"}, ExpiresIn=600),
        pause=0.008,
    )
    flow = downloads(gate, 1)[0]
    started([session])
    assert flow.wait_end() == "cut"
    assert time.time() * 1000 >= soon - 100
    with pytest.raises(ClientError):
        client.head_object(Bucket="photos", Key="big")
    assert session.wait_end() == "whole"


def test_a_cut_upload_stores_nothing_and_charges_nothing(gate: Gate) -> None:
    flows = started(
        [Upload(url(gate, "bob", "alice.photos", f"up{i}", "put_object"), SIZE) for i in range(3)]
    )
    before = gate.stored()
    acks = gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"])
    assert acks.transfers_cut == 3
    assert [flow.wait_end() for flow in flows] == ["cut"] * 3
    assert gate.stored() == before
    wait_until(lambda: gate.charged() == before, time.monotonic() + 10)
    assert gate.charged() == before


def test_a_cut_multipart_keeps_its_finished_parts(gate: Gate) -> None:
    bob, key = gate.client("bob"), "parts"
    upload = bob.create_multipart_upload(Bucket="alice.photos", Key=key)["UploadId"]
    part = b"p" * (5 * 1024 * 1024)
    tag = bob.upload_part(Bucket="alice.photos", Key=key, UploadId=upload, PartNumber=1, Body=part)["ETag"]
    signed = bob.generate_presigned_url(
        "upload_part",
        Params={"Bucket": "alice.photos", "Key": key, "UploadId": upload, "PartNumber": 2},
        ExpiresIn=600,
    )
    flow = started([Upload(signed, SIZE)])[0]
    assert gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"]).transfers_cut == 1
    assert flow.wait_end() == "cut"
    with pytest.raises(ClientError):
        bob.list_parts(Bucket="alice.photos", Key=key, UploadId=upload)
    alice = gate.client()
    parts = alice.list_parts(Bucket="photos", Key=key, UploadId=upload).get("Parts", [])
    assert [one["PartNumber"] for one in parts] == [1]
    alice.complete_multipart_upload(
        Bucket="photos", Key=key, UploadId=upload, MultipartUpload={"Parts": [{"ETag": tag, "PartNumber": 1}]}
    )
    assert alice.head_object(Bucket="photos", Key=key)["ContentLength"] == len(part)
    alice.delete_object(Bucket="photos", Key=key)


def test_boto3_never_takes_a_short_file_for_whole(gate: Gate) -> None:
    body = gate.client("bob").get_object(Bucket="alice.photos", Key="big")["Body"]
    assert len(body.read(400_000)) == 400_000
    gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"])
    with pytest.raises((BotoCoreError, OSError)):
        body.read()


@pytest.mark.parametrize("tool", ["curl", "aws", "mc", "rclone"])
def test_clients_see_an_error(gate: Gate, tool: str, mc: Path, tmp_path: Path) -> None:
    """Each at a limited rate, so that the cut falls into the middle of it."""
    target = tmp_path / "big"
    env = servers.clean_env(
        HOME=str(tmp_path),
        AWS_ACCESS_KEY_ID=KEYS["bob"],
        AWS_SECRET_ACCESS_KEY=secret_of("bob"),
        AWS_DEFAULT_REGION="us-east-1",
        AWS_MAX_ATTEMPTS="1",
        AWS_EC2_METADATA_DISABLED="true",
        MC_HOST_gate=f"http://{KEYS['bob']}:{secret_of('bob')}@127.0.0.1:{gate.port}",
    )
    if tool == "curl":
        command = [
            "curl",
            "-sSf",
            "--limit-rate",
            "3M",
            "-o",
            str(target),
            url(gate, "bob", "alice.photos", "big"),
        ]
    elif tool == "aws":
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "config").write_text(
            "[default]\ns3 =\n  max_bandwidth = 3MB/s\n  max_concurrent_requests = 1\n  addressing_style = path\n"
        )
        command = [servers.find_program("aws"), "--endpoint-url", gate.endpoint, "s3", "cp"]
        command += ["s3://alice.photos/big", str(target)]
    elif tool == "mc":
        command = [str(mc), "--config-dir", str(tmp_path / "mc"), "--limit-download", "3MiB", "cp"]
        command += ["gate/alice.photos/big", str(target)]
    else:
        remote = (
            f":s3,provider=Other,access_key_id={KEYS['bob']},secret_access_key={secret_of('bob')},"
            f"endpoint='{gate.endpoint}',region=us-east-1,force_path_style=true:alice.photos/big"
        )
        command = [
            servers.find_program("rclone"),
            "--retries",
            "1",
            "--low-level-retries",
            "1",
            "--bwlimit",
            "3M",
        ]
        command += ["--config", str(tmp_path / "none"), "copyto", remote, str(target)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:

        def is_moving() -> bool:
            return process.poll() is not None or any(
                one["bytes"] > 500_000 for one in _running(gate) if one["operation"] == "GetObject"
            )

        wait_until(is_moving, time.monotonic() + 40)
        assert process.poll() is None
        acks = gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"])
        said, _ = process.communicate(timeout=90)
    assert acks.transfers_cut >= 1, said
    assert process.returncode != 0, said
    assert not target.exists() or target.stat().st_size < SIZE


def _running(gate: Gate) -> list[dict[str, Any]]:
    async def ask() -> list[dict[str, Any]]:
        live = await gate.live()
        try:
            return await live.transfers(0.7)
        finally:
            await live.aclose()

    return asyncio.run(ask())


def test_a_stopped_worker_is_waited_for_no_longer_than_its_lease(gate: Gate) -> None:
    assert gate.process is not None
    flows = downloads(gate, 8)
    pids = workers_of(gate.process)
    pid = pids[-1]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        acks = gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"])
        took = time.monotonic() - began
        assert acks.workers_unreachable == 1
        assert took < LEASE + MARGIN + SLACK
        before = [flow.moved for flow in flows]
    finally:
        os.kill(pid, signal.SIGCONT)
    for flow, moved in zip(flows, before, strict=True):
        assert flow.wait_end() == "cut"
        assert flow.moved - moved <= ALLOWANCE
    with pytest.raises(ClientError):
        gate.client("bob").get_object(Bucket="alice.photos", Key="big")
    _wait_until_served(gate)


def test_an_upload_through_a_stopped_worker_stores_nothing(gate: Gate) -> None:
    assert gate.process is not None
    before = gate.stored()
    size = 8 * 1024 * 1024
    flow = started([Upload(url(gate, "bob", "alice.photos", "stopped", "put_object"), size, pause=0.03)])[0]
    pids = workers_of(gate.process)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        acks = gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"])
        assert acks.workers_unreachable == len(pids)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert flow.wait_end() == "cut"
    _wait_until_served(gate)
    assert gate.stored() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker(gate: Gate, tmp_path: Path, workers: int) -> None:
    with another_proxy(gate, tmp_path, workers) as (endpoint, process):
        flows = started(
            [Download(url(gate, "bob", "alice.photos", "big", endpoint=endpoint)) for _ in range(6)]
        )
        os.kill(workers_of(process)[-1], signal.SIGKILL)
        began = time.monotonic()
        acks = gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"])
        assert time.monotonic() - began < LEASE + MARGIN + SLACK
        assert acks.workers_unreachable == 1
        # A killed process's kernel ends its connections cleanly: the length that was announced tells.
        assert {flow.wait_end() for flow in flows} <= {"cut", "short"}
        assert all(flow.moved < SIZE for flow in flows)


def test_redis_paused_for_a_lease_stops_everything(gate: Gate, valkey: servers.Valkey) -> None:
    flows = downloads(gate, 4)
    os.kill(valkey.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for flow in flows:
            assert flow.wait_end() == "cut"
        assert time.monotonic() - began < LEASE + SLACK
        assert servers.http_status(gate.endpoint, "/-/ready") == 503
    finally:
        os.kill(valkey.process.pid, signal.SIGCONT)
    _wait_until_served(gate)


def _wait_until_served(gate: Gate) -> None:
    def served() -> bool:
        # Each worker in turn may answer: ask often enough to meet them all.
        endpoints: list[str] = gate.endpoints  # type: ignore[attr-defined]
        return all(servers.http_status(one, "/-/ready") == 200 for one in endpoints for _ in range(8))

    wait_until(served, time.monotonic() + 20)
    assert served()
