"""A node that is the gate itself, or leads back to it: one clear refusal, and no request that feeds on itself."""

from __future__ import annotations

from pathlib import Path

from tests import servers
from tests.proxy.gates import KEYS, Gate, running_gate, secret_of
from tests.proxy.signer import Signer
from tests.proxy.wire import Reply


def lead(gate: Gate, to: Gate) -> None:
    """Make alice's `round` of one gate live in her `round` of another."""
    node = f"node{to.port}"
    gate.apply(
        [
            gate.node(
                node,
                endpoint=to.endpoint,
                access_key_id=KEYS["alice"],
                secret=gate.sealer.seal(secret_of("alice").encode(), b"node:" + node.encode()),
            ),
            gate.workspace("round", node=node, bucket="round"),
        ]
    )


def refused(gate: Gate, reply: Reply) -> None:
    assert (reply.status, reply.code) == (400, "InvalidRequest"), reply.body
    assert "leads back to this gate" in reply.find("Message")
    assert gate.bucket.encode() not in reply.body
    assert b"wsround" not in reply.body


def alice(gate: Gate) -> Signer:
    return Signer(gate.endpoint, KEYS["alice"], secret_of("alice"))


def test_a_gate_that_is_its_own_node(gate: Gate) -> None:
    lead(gate, gate)
    refused(gate, alice(gate).send("GET", "/round/a"))
    refused(gate, alice(gate).send("GET", "/round?list-type=2"))
    # Changes begin with a look, which has no document to say why it failed.
    refused(gate, alice(gate).send("PUT", "/round/a", b"x"))
    refused(gate, alice(gate).send("DELETE", "/round/a"))
    assert gate.charged("w:wsround") == (0, 0)


def test_two_gates_that_are_each_others_nodes(
    gate: Gate, minio: servers.Minio, valkey: servers.Valkey, tmp_path: Path
) -> None:
    with running_gate(minio, valkey, tmp_path / "other") as other:
        lead(gate, other)
        lead(other, gate)
        refused(gate, alice(gate).send("GET", "/round/a"))


def test_a_gate_behind_a_gate_is_no_loop(
    gate: Gate, minio: servers.Minio, valkey: servers.Valkey, tmp_path: Path
) -> None:
    with running_gate(minio, valkey, tmp_path / "other") as other:
        lead(gate, other)
        other.apply([other.workspace("round")])
        client = gate.client()
        client.put_object(Bucket="round", Key="a", Body=b"far")
        assert client.get_object(Bucket="round", Key="a")["Body"].read() == b"far"
        assert other.stored("round") == (3, 1)


def test_the_via_of_others_is_none_of_ours(gate: Gate) -> None:
    via = ("via", "1.1 varnish, 1.1 wio-0123456789abcdef")
    assert alice(gate).send("PUT", "/photos/a", b"", via).status == 200
