"""Tags, locks, Select and events through the gate, against a real MinIO."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from proxy.operations import RUNNERS
from proxy.s3.operation_table import OPERATIONS, Disposition
from tests.proxy.gates import KEYS, Gate, code, secret_of


def test_every_operation_has_a_runner_of_its_disposition() -> None:
    handled = {row.name for row in OPERATIONS if row.disposition is Disposition.HANDLED}
    read = {row.name for row in OPERATIONS if row.disposition is Disposition.UNCONFIGURED}
    assert set(RUNNERS) == handled | read, "what is refused is refused before a runner is asked for"
    assert {RUNNERS[name].__name__ for name in read} == {"read_unconfigured"}
    assert "read_unconfigured" not in {RUNNERS[name].__name__ for name in handled}


def test_tags(gate: Gate, alice: Any) -> None:
    alice.put_object(Bucket="photos", Key="t &é", Body=b"x", Tagging="a=1")
    tags = [{"Key": "who", "Value": "alice / co"}, {"Key": "b", "Value": "2"}]
    alice.put_object_tagging(Bucket="photos", Key="t &é", Tagging={"TagSet": tags})
    got = gate.client("bob").get_object_tagging(Bucket="alice.photos", Key="t &é")["TagSet"]
    assert sorted(got, key=str) == sorted(tags, key=str)
    for write in ("put_object_tagging", "delete_object_tagging"):
        more = {"Tagging": {"TagSet": []}} if write.startswith("put") else {}
        with pytest.raises(ClientError) as error:
            getattr(gate.client("bob"), write)(Bucket="alice.photos", Key="t &é", **more)
        assert code(error) == (403, "AccessDenied")
    alice.delete_object_tagging(Bucket="photos", Key="t &é")
    assert alice.get_object_tagging(Bucket="photos", Key="t &é")["TagSet"] == []
    with pytest.raises(ClientError) as error:
        alice.put_object_tagging(Bucket="photos", Key="t &é", Tagging={"TagSet": [tags[0], tags[0]]})
    assert code(error) == (400, "InvalidTag")
    assert gate.charged() == gate.stored()


def test_locks_as_the_node_has_them(gate: Gate, alice: Any) -> None:
    alice.put_object(Bucket="photos", Key="unlocked", Body=b"x")
    with pytest.raises(ClientError) as error:
        alice.get_object_retention(Bucket="photos", Key="unlocked")
    assert code(error) == (400, "InvalidRequest")
    bucket = f"{gate.bucket}-locked"
    gate.node_client().create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    gate.apply([gate.workspace("vault", bucket=bucket, versioned=True), gate.grant("vault", "u:bob", 2)])
    version = alice.put_object(Bucket="vault", Key="deed", Body=b"x")["VersionId"]
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    alice.put_object_retention(
        Bucket="vault", Key="deed", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until}
    )
    assert alice.get_object_retention(Bucket="vault", Key="deed")["Retention"]["RetainUntilDate"] == until
    alice.put_object_legal_hold(Bucket="vault", Key="deed", LegalHold={"Status": "ON"})
    assert alice.get_object_legal_hold(Bucket="vault", Key="deed")["LegalHold"]["Status"] == "ON"
    alice.put_object_legal_hold(Bucket="vault", Key="deed", LegalHold={"Status": "OFF"})
    for bypass in (False, True):
        with pytest.raises(ClientError) as error:
            alice.delete_object(
                Bucket="vault", Key="deed", VersionId=version, BypassGovernanceRetention=bypass
            )
        assert code(error)[0] in (400, 403)
    alice.put_object(Bucket="vault", Key="held", Body=b"x", ObjectLockLegalHoldStatus="ON")
    assert alice.get_object_legal_hold(Bucket="vault", Key="held")["LegalHold"]["Status"] == "ON"
    bob = gate.client("bob")
    bob.put_object(Bucket="alice.vault", Key="bobs", Body=b"x")
    for write in (
        lambda: bob.put_object(Bucket="alice.vault", Key="bobs", Body=b"x", ObjectLockLegalHoldStatus="ON"),
        lambda: bob.create_multipart_upload(Bucket="alice.vault", Key="bobs", ObjectLockLegalHoldStatus="ON"),
    ):
        with pytest.raises(ClientError) as error:
            write()
        assert code(error) == (403, "AccessDenied")
    with pytest.raises(ClientError) as error:
        gate.client("bob").put_object_legal_hold(Bucket="alice.vault", Key="deed", LegalHold={"Status": "ON"})
    assert code(error) == (403, "AccessDenied")
    assert "own on alice.vault" in str(error.value)


def test_select(gate: Gate, alice: Any) -> None:
    alice.put_object(Bucket="photos", Key="people.csv", Body=b"name,age\nann,30\nbob,20\n")
    answer = gate.client("bob").select_object_content(
        Bucket="alice.photos",
        Key="people.csv",
        Expression="select s.name from s3object s where cast(s.age as int) > 25",
        ExpressionType="SQL",
        InputSerialization={"CSV": {"FileHeaderInfo": "USE"}},
        OutputSerialization={"CSV": {}},
    )
    rows = b"".join(event["Records"]["Payload"] for event in answer["Payload"] if "Records" in event)
    assert rows == b"ann\n"
    with pytest.raises(ClientError) as error:
        gate.client("carol").select_object_content(
            Bucket="alice.photos",
            Key="people.csv",
            Expression="select * from s3object",
            ExpressionType="SQL",
            InputSerialization={"CSV": {}},
            OutputSerialization={"CSV": {}},
        )
    assert code(error) == (403, "AccessDenied")


class Listener:
    """One ListenNotification; `events` fills while it lasts, `ended` says how it stopped."""

    def __init__(self, gate: Gate, user: str, bucket: str, query: str) -> None:
        request = AWSRequest("GET", f"{gate.endpoint}/{bucket}?{query}")
        S3SigV4Auth(Credentials(KEYS[user], secret_of(user)), "s3", "us-east-1").add_auth(request)
        self._connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=20)
        self._connection.request("GET", f"/{bucket}?{query}", headers=dict(request.headers))
        self._socket = self._connection.sock
        self.answer = self._connection.getresponse()
        self.events: list[dict[str, Any]] = []
        self.raw = b""
        self.ended = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for line in self.answer:
                self.raw += line
                if line.strip():
                    self.events += json.loads(line)["Records"] or []
            self.ended = "cleanly"
        except (OSError, http.client.HTTPException, ValueError) as failure:
            self.ended = type(failure).__name__

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self.join()
        self.answer.close()
        self._connection.close()


def eventually(condition: Any, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


EVENTS = "events=s3%3AObjectCreated%3A%2A&events=s3%3AObjectRemoved%3A%2A&ping=1"


def test_events_are_those_of_the_workspace(gate: Gate, alice: Any) -> None:
    with Listener(gate, "alice", "photos", EVENTS + "&prefix=seen%2F&suffix=.jpg") as listener:
        assert listener.answer.status == 200
        alice.put_object(Bucket="inbox", Key="seen/elsewhere.jpg", Body=b"x")
        alice.put_object(Bucket="photos", Key="unseen/a.jpg", Body=b"x")
        alice.put_object(Bucket="photos", Key="seen/a b+ü.jpg", Body=b"xyz")
        alice.delete_object(Bucket="photos", Key="seen/a b+ü.jpg")
        assert eventually(lambda: len(listener.events) >= 2)
    assert [event["eventName"].rpartition(":")[0] for event in listener.events] == [
        "s3:ObjectCreated",
        "s3:ObjectRemoved",
    ]
    held = listener.events[0]["s3"]
    assert (held["bucket"]["name"], held["object"]["key"]) == ("photos", "seen/a b+ü.jpg")
    assert held["object"]["size"] == 3
    for secret in (gate.bucket, "base", gate.minio.access_key, "127.0.0.1"):
        assert secret.encode() not in listener.raw


def test_listening_ends_with_the_share(gate: Gate) -> None:
    gate.apply([gate.grant("inbox", "u:carol", 1)])
    with Listener(gate, "carol", "alice.inbox", EVENTS) as listener:
        assert listener.answer.status == 200
        acks = gate.delete("grant", "wsinbox|u:carol", revoke=["s:share-inbox-u-carol"])
        assert acks.transfers_cut == 1
        listener.join()
        assert listener.ended not in ("", "cleanly")


def test_what_is_no_event_of_an_object_is_refused(gate: Gate) -> None:
    for query in (
        "events=s3%3AReplication%3A%2A",
        "events=",
        "events=s3%3AObjectCreated%3A%2A&prefix=..%2Fx",
    ):
        with Listener(gate, "alice", "photos", query) as listener:
            assert listener.answer.status == 400
