"""Room through the real proxy: never exceeded, used up, given back at once where that is certain, and only then."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from broker.stack.child import wait_until
from quota import Change
from tests import servers
from tests.proxy.gates import KEYS, Gate, running_gate, secret_of
from tests.proxy.rooms import another_proxy, reap, recount
from tests.proxy.scripted_node import ScriptedNode, scripted_node

LEASE, COMMIT = 1.0, 2.0
KIB, MIB = 1024, 1024 * 1024


def limit(gate: Gate, id: str = "w:wsphotos", **values: Any) -> None:
    value = {"bytes": None, "objects": None, **values}
    gate.apply([Change("limit", id, next(gate.versions), value)])


def code_of(call: Any, **kwargs: Any) -> str:
    """What S3 answers to a call: "OK", or an error's code."""
    try:
        call(**kwargs)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "OK"


@pytest.fixture
def fresh(minio: servers.Minio, valkey: servers.Valkey, tmp_path: Path) -> Iterator[Gate]:
    with running_gate(
        minio, valkey, tmp_path, WIO_LEASE_SECONDS=str(LEASE), WIO_COMMIT_SECONDS=str(COMMIT)
    ) as gate:
        yield gate


@pytest.fixture
def node() -> Iterator[ScriptedNode]:
    with scripted_node() as running:
        yield running


@pytest.fixture
def scripted(fresh: Gate, node: ScriptedNode) -> Gate:
    fresh.apply([fresh.node(endpoint=node.endpoint)], ["node:node1"])
    return fresh


# At once.


def test_single_puts_by_64_clients_at_once_use_the_room_up_and_never_exceed_it(fresh: Gate) -> None:
    size, fits = 96 * KIB, 37
    limit(fresh, bytes=size * fits + size - 1)
    client = fresh.client(max_pool_connections=64)
    exceeded: list[tuple[int, int]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            charged = fresh.charged()
            if charged[0] > size * fits + size - 1:
                exceeded.append(charged)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(64) as pool:
        codes = list(
            pool.map(
                lambda n: code_of(client.put_object, Bucket="photos", Key=f"k{n}", Body=b"x" * size),
                range(64),
            )
        )
    done.set()
    watcher.join()
    assert codes.count("OK") == fits
    assert codes.count("QuotaExceeded") == 64 - fits
    assert fresh.charged() == fresh.stored() == (size * fits, fits)
    assert not exceeded


def test_parallel_multipart_uses_the_room_up_and_never_exceeds_it(fresh: Gate) -> None:
    part = 5 * MIB
    room = 9 * part + MIB
    limit(fresh, bytes=room)
    client = fresh.client(max_pool_connections=16)
    body = b"y" * part

    def upload(n: int) -> str:
        key = f"big{n}"
        begun = client.create_multipart_upload(Bucket="photos", Key=key)["UploadId"]
        etags = []
        for number in (1, 2):
            try:
                answer = client.upload_part(
                    Bucket="photos", Key=key, UploadId=begun, PartNumber=number, Body=body
                )
            except ClientError as error:
                client.abort_multipart_upload(Bucket="photos", Key=key, UploadId=begun)
                return str(error.response["Error"]["Code"])
            etags.append({"PartNumber": number, "ETag": answer["ETag"]})
        client.complete_multipart_upload(
            Bucket="photos", Key=key, UploadId=begun, MultipartUpload={"Parts": etags}
        )
        return "OK"

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(upload, range(8)))
    assert set(codes) <= {"OK", "QuotaExceeded"}
    stored = fresh.stored()
    assert fresh.charged() == stored
    assert stored[0] == codes.count("OK") * 2 * part <= room
    # Whoever is refused has freed its parts, so what is left over holds another object at most for those that come now.
    while (code := upload(100 + codes.count("OK"))) == "OK":
        codes.append(code)
    assert room - fresh.charged()[0] < 2 * part
    assert fresh.usage()["mb"] == 0


# Ends.


def _put_head(gate: Gate, key: str, size: int) -> tuple[socket.socket, bytes]:
    url = gate.client().generate_presigned_url(
        "put_object", Params={"Bucket": "photos", "Key": key}, ExpiresIn=60
    )
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port), timeout=30)
    head = (
        f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {size}\r\n\r\n"
    )
    return sock, head.encode()


def test_a_client_that_goes_in_the_middle_gives_its_room_back_at_once(fresh: Gate) -> None:
    sock, head = _put_head(fresh, "half", 4 * MIB)
    sock.sendall(head + b"z" * MIB)
    assert wait_until(lambda: fresh.charged() == (4 * MIB, 1), time.monotonic() + 10)
    sock.close()
    assert wait_until(lambda: fresh.charged() == (0, 0), time.monotonic() + 10)
    assert fresh.stored() == (0, 0)


def test_a_node_that_fails_after_it_stored_leaves_a_doubt_that_a_look_clears(
    scripted: Gate, node: ScriptedNode
) -> None:
    node.rule("bad", status=500)
    client = scripted.client()
    assert code_of(client.put_object, Bucket="photos", Key="bad", Body=b"x" * 100) in (
        "InternalError",
        "SlowDown",
    )
    usage = scripted.usage()
    assert (usage["b"], usage["hb"], usage["db"], usage["do"]) == (0, 0, 100, 1)
    # Until the node can commit no more a recount leaves it as it is.
    assert recount(scripted, node.endpoint) == (0, 0)
    assert scripted.charged() == node.stored() == (100, 1)
    time.sleep(COMMIT)
    assert recount(scripted, node.endpoint) == (100, 1)
    assert scripted.charged() == node.stored() == (100, 1)
    assert scripted.usage()["db"] == 0


def test_a_node_that_refuses_gives_the_room_back_at_once(scripted: Gate, node: ScriptedNode) -> None:
    node.rule("no", status=400)
    assert code_of(scripted.client().put_object, Bucket="photos", Key="no", Body=b"x" * 100) != "OK"
    assert scripted.charged() == node.stored() == (0, 0)


def _in_background(call: Any, **kwargs: Any) -> threading.Thread:
    def run() -> None:
        with suppress(ClientError, BotoCoreError):
            call(**kwargs)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_late_commit_past_a_dead_worker_while_a_rival_claims_the_room(
    scripted: Gate, node: ScriptedNode, tmp_path: Path, how: str
) -> None:
    limit(scripted, bytes=150)
    late = node.rule("late", hold="commit")
    with another_proxy(scripted, tmp_path) as second:
        thread = _in_background(scripted.client().put_object, Bucket="photos", Key="late", Body=b"x" * 100)
        assert late.received.wait(10)
        assert scripted.process is not None
        os.killpg(scripted.process.pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        rival = scripted.client_of(KEYS["alice"], secret_of("alice"), endpoint=second)

        def claim() -> str:
            code = code_of(rival.put_object, Bucket="photos", Key="rival", Body=b"y" * 100)
            assert scripted.charged()[0] >= node.stored()[0]
            return code

        assert claim() == "QuotaExceeded"

        def is_in_doubt() -> bool:
            # Whoever comes first ends the dead worker's lease: the broker's round, or the rival's own worker.
            reap(scripted)
            usage = scripted.usage()
            return (usage["hb"], usage["db"]) == (0, 100)

        assert wait_until(is_in_doubt, time.monotonic() + 10 * LEASE)
        assert claim() == "QuotaExceeded"
        # Only now, past the lease, the node stores it.
        late.commit.set()
        assert late.committed.wait(5)
        assert claim() == "QuotaExceeded"
        if how == "stopped":
            os.killpg(scripted.process.pid, signal.SIGCONT)
            thread.join(20)
            assert claim() == "QuotaExceeded"
        recount(scripted, node.endpoint)
        assert scripted.charged() == node.stored() == (100, 1)
        assert scripted.usage()["db"] == 0


def test_an_overtaken_look_and_two_writers_of_one_key(scripted: Gate, node: ScriptedNode) -> None:
    """Two PUTs and a DELETE of one key, held back at the node and let go in every order."""
    client = scripted.client(max_pool_connections=8)
    for order in itertools.permutations(range(3)):
        node.rules.clear()
        key = "race" + "".join(map(str, order))
        client.put_object(Bucket="photos", Key=key, Body=b"s" * 40)
        rules = []
        threads = []
        for n, call in enumerate((client.put_object, client.put_object, client.delete_object)):
            rule = node.rule(key, hold="commit")
            body = {"Body": b"b" * (90, 10)[n]} if n < 2 else {}
            threads.append(_in_background(call, Bucket="photos", Key=key, **body))
            # The base is told at once only by long bodies: later members may wait for the first one's end.
            rule.received.wait(0.3)
            node.rules.remove(rule)
            rules.append(rule)
        for n in order:
            rules[n].commit.set()
            time.sleep(0.02)
            charged, stored = scripted.charged(), node.stored()
            assert charged[0] >= stored[0]
            assert charged[1] >= stored[1]
        for thread in threads:
            thread.join(20)
        assert scripted.charged() == node.stored()


# Limits.


def test_a_soft_limit_warns_and_stops_when_its_grace_ends(fresh: Gate) -> None:
    limit(fresh, bytes=1000, soft_bytes=100, grace_ms=1500)
    client = fresh.client()
    quiet = client.put_object(Bucket="photos", Key="a", Body=b"x" * 90)
    assert "x-wio-quota-warning" not in quiet["ResponseMetadata"]["HTTPHeaders"]
    more = itertools.count()
    warned = client.put_object(Bucket="photos", Key="b", Body=b"x" * 90)
    assert warned["ResponseMetadata"]["HTTPHeaders"]["x-wio-quota-warning"] == "workspace"
    assert wait_until(
        lambda: (
            code_of(client.put_object, Bucket="photos", Key=f"c{next(more)}", Body=b"x") == "QuotaExceeded"
        ),
        time.monotonic() + 10,
    )
    assert client.get_object(Bucket="photos", Key="a")["Body"].read() == b"x" * 90
    for key in "ab":
        client.delete_object(Bucket="photos", Key=key)
    assert code_of(client.put_object, Bucket="photos", Key="d", Body=b"x") == "OK"


def test_a_limit_raised_for_a_time_falls_back_by_itself(fresh: Gate) -> None:
    more = itertools.count()
    until = int(time.time() * 1000) + 1500
    limit(fresh, bytes=10, raised={"bytes": 200, "objects": None, "until_ms": until})
    client = fresh.client()
    assert code_of(client.put_object, Bucket="photos", Key="a", Body=b"x" * 100) == "OK"
    assert wait_until(
        lambda: (
            code_of(client.put_object, Bucket="photos", Key=f"b{next(more)}", Body=b"x") == "QuotaExceeded"
        ),
        time.monotonic() + 10,
    )


def test_a_denial_names_level_limit_used_and_asked(fresh: Gate) -> None:
    limit(fresh, "u:alice", bytes=100)
    client = fresh.client()
    client.put_object(Bucket="photos", Key="a", Body=b"x" * 60)
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket="inbox", Key="b", Body=b"x" * 41)
    error = refused.value.response["Error"]
    assert error["Code"] == "QuotaExceeded"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    for word in ("overall", "100", "60", "41"):
        assert word in error["Message"], error["Message"]


# Versions.


@pytest.fixture
def versioned(fresh: Gate) -> Gate:
    fresh.node_client().put_bucket_versioning(
        Bucket=fresh.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    fresh.apply([fresh.workspace("photos", versioned=True)])
    return fresh


def _versions(gate: Gate) -> tuple[int, int]:
    pages = gate.node_client().get_paginator("list_object_versions")
    sizes = [
        version["Size"]
        for page in pages.paginate(Bucket=gate.bucket, Prefix=gate.prefix("photos"))
        for version in page.get("Versions", ())
    ]
    return sum(sizes), len(sizes)


def test_where_versions_are_kept_all_of_them_count_and_a_marker_frees_nothing(versioned: Gate) -> None:
    client = versioned.client()
    first = client.put_object(Bucket="photos", Key="a", Body=b"x" * 30)["VersionId"]
    client.put_object(Bucket="photos", Key="a", Body=b"x" * 50)
    assert versioned.charged() == _versions(versioned) == (80, 2)
    client.delete_object(Bucket="photos", Key="a")
    assert versioned.charged() == _versions(versioned) == (80, 2)
    client.delete_object(Bucket="photos", Key="a", VersionId=first)
    assert versioned.charged() == _versions(versioned) == (50, 1)
    client.delete_objects(
        Bucket="photos", Delete={"Objects": [{"Key": "a", "VersionId": first}, {"Key": "b"}]}
    )
    assert versioned.charged() == _versions(versioned) == (50, 1)
    source = {"Bucket": "photos", "Key": "a", "VersionId": _only_version(versioned)}
    client.copy_object(Bucket="photos", Key="c", CopySource=source)
    assert versioned.charged() == _versions(versioned) == (100, 2)
    assert recount(versioned, versioned=True) == (0, 0)
    assert versioned.usage()["vb"] == 50


def _only_version(gate: Gate) -> str:
    found = gate.client().list_object_versions(Bucket="photos")["Versions"]
    return str(found[0]["VersionId"])


def test_a_recount_of_versions_beside_writers_is_exact(versioned: Gate) -> None:
    # A recount may hold writes of a key up for a moment, and says SlowDown: these clients try again, as all do.
    client = versioned.client(max_pool_connections=8, retries={"mode": "standard", "max_attempts": 10})
    versioned.node_client().put_object(
        Bucket=versioned.bucket, Key=versioned.prefix("photos") + "behind", Body=b"x" * 1000
    )
    stop = threading.Event()

    def write(n: int) -> None:
        i = 0
        while not stop.is_set():
            client.put_object(Bucket="photos", Key=f"k{n}-{i % 3}", Body=b"w" * (i % 50))
            i += 1

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, n) for n in range(2)]
        try:
            drift = recount(versioned, versioned=True)
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    assert drift == (1000, 1)
    assert versioned.charged() == _versions(versioned)


def test_a_recount_beside_constant_writes_ends_and_finds_what_came_past_the_gate(fresh: Gate) -> None:
    client = fresh.client(max_pool_connections=8)
    behind = fresh.node_client()
    for n in range(30):
        behind.put_object(Bucket=fresh.bucket, Key=f"{fresh.prefix('photos')}behind{n}", Body=b"x" * 100)
    stop = threading.Event()

    def write(n: int) -> None:
        i = 0
        while not stop.is_set():
            key = f"k{n}-{i % 5}"
            client.put_object(Bucket="photos", Key=key, Body=b"w" * (i % 70))
            if i % 4 == 3:
                client.delete_object(Bucket="photos", Key=key)
            i += 1

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, n) for n in range(4)]
        try:
            drifts = [recount(fresh) for _ in range(5)]
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    assert drifts == [(3000, 30), (0, 0), (0, 0), (0, 0), (0, 0)]
    assert fresh.charged() == fresh.stored()
