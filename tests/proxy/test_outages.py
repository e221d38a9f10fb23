"""Redis or a node stopped, or paused: a prompt 503, and no hold that need not stay. And refusals that cost little."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import servers
from tests.proxy.gates import KEYS, Gate, running_gate, secret_of
from tests.proxy.signer import Signer
from tests.proxy.wire import Reply


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Gate, servers.Minio, servers.Valkey]]:
    """A gate over servers of its own, which may be stopped."""
    with (
        servers.minio_server(tmp_path / "minio") as minio,
        servers.valkey_server(tmp_path / "valkey") as valkey,
        running_gate(minio, valkey, tmp_path / "gate") as gate,
    ):
        yield gate, minio, valkey


@contextmanager
def paused(process: subprocess.Popen[bytes]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def promptly(ask: Callable[[], Reply], seconds: float = 2.5) -> Reply:
    began = time.monotonic()
    reply = ask()
    assert time.monotonic() - began < seconds
    return reply


def signer(gate: Gate) -> Signer:
    return Signer(gate.endpoint, KEYS["alice"], secret_of("alice"))


def test_redis_paused_then_gone(own: tuple[Gate, servers.Minio, servers.Valkey]) -> None:
    gate, _, valkey = own
    alice = signer(gate)
    assert alice.send("PUT", "/photos/k", b"x").status == 200
    with paused(valkey.process):
        for method, target in (("GET", "/photos/k"), ("PUT", "/photos/k"), ("GET", "/"), ("GET", "/photos")):
            reply = promptly(lambda method=method, target=target: alice.send(method, target, b""))  # type: ignore[misc]
            assert (reply.status, reply.code) == (503, "SlowDown")
            assert int(reply.headers["retry-after"]) > 0
    eventually(lambda: alice.send("GET", "/photos/k").status == 200)
    eventually(lambda: gate.charged() == (1, 1))
    valkey.process.kill()
    reply = promptly(lambda: alice.send("GET", "/photos/k"))
    assert (reply.status, reply.code) == (503, "SlowDown")


def test_a_node_gone_or_paused(own: tuple[Gate, servers.Minio, servers.Valkey]) -> None:
    gate, minio, _ = own
    alice = signer(gate)
    assert alice.send("PUT", "/photos/k", b"x").status == 200
    minio.process.kill()
    minio.process.wait()
    for method, target, body in (
        ("GET", "/photos/k", b""), ("PUT", "/photos/new", b"x" * 100_000), ("PUT", "/photos/new", b"y"),
        ("DELETE", "/photos/k", b""), ("GET", "/photos?list-type=2", b""),
    ):  # fmt: skip
        reply = promptly(lambda m=method, t=target, b=body: alice.send(m, t, b), 5.0)  # type: ignore[misc]
        assert reply.status == 503, (method, reply.body)
    # The node had nothing of any of them: nothing stays held, and nothing in doubt.
    eventually(lambda: gate.charged() == (1, 1))
    assert gate.usage()["db"] == gate.usage()["hb"] == 0
    assert alice.send("GET", "/").status == 200


def requests(gate: Gate, operation: str) -> int:
    lines = [line for line in gate.log_lines() if line.get("event") == "request"]
    return sum(line.get("operation") == operation for line in lines)


@pytest.mark.parametrize("program", ["mc", "rclone"])
def test_a_refused_upload_costs_no_second_try(gate: Gate, tmp_path: Path, program: str) -> None:
    (tmp_path / "big").write_bytes(os.urandom(1024) * 70 * 1024)
    host = gate.endpoint.removeprefix("http://")
    env = servers.clean_env(
        HOME=str(tmp_path),
        MC_HOST_wio=f"http://{KEYS['bob']}:{secret_of('bob')}@{host}",
        AWS_ACCESS_KEY_ID=KEYS["bob"],
        AWS_SECRET_ACCESS_KEY=secret_of("bob"),
    )
    (tmp_path / "rclone.conf").write_text(
        f"[wio]\ntype=s3\nprovider=Minio\nendpoint={gate.endpoint}\nregion=us-east-1\nenv_auth=true\n"
    )
    words = ["cp", "--disable-multipart", "big", "wio/alice.photos/big"]
    if program == "rclone":
        words = [
            "--config",
            "rclone.conf",
            "--s3-upload-cutoff",
            "200M",
            "copyto",
            "big",
            "wio:alice.photos/big",
        ]
    before = requests(gate, "PutObject")
    began = time.monotonic()
    done = subprocess.run(
        [servers.find_program(program), *words],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    said = done.stderr + done.stdout
    assert "readwrite on alice.photos" in said or "Insufficient permissions" in said, said
    # mc asks once; rclone tries a file three times, whatever the answer, and once more below.
    eventually(lambda: requests(gate, "PutObject") > before)
    assert requests(gate, "PutObject") - before <= {"mc": 1, "rclone": 4}[program]
    assert time.monotonic() - began < 20
    assert gate.stored() == gate.charged()
