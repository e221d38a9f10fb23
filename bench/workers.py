"""One worker and two, each held to the same share of a core, before a node that costs next to nothing.

So two can do twice what one does, on a machine where clients, node and Redis could not leave two cores to them.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.contenders import Contender, gate_contender
from bench.figures import FIGURES, SMALL, Sample
from bench.groups import held_to
from bench.machine import family
from tests import servers
from tests.proxy.gates import Gate, running_gate

ONE: Final = "one worker"
TWO: Final = "two workers"
COUNTS: Final = {ONE: 1, TWO: 2}
#: Of a core, for each worker: the rest is enough for everybody else on two cores.
SHARE: Final = 0.2
#: Many, as the kernel spreads them over the workers by chance and each has to be busy.
CONNECTIONS: Final = 64


def measure(folder: Path, rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """Return a sample for each round, with one worker and with two; raises `NoGroups` and `LoadFailed`."""
    found: dict[str, list[Sample]] = {ONE: [], TWO: []}
    figure = replace(FIGURES["get"], connections=CONNECTIONS)
    with _gates(folder) as gates, ExitStack() as groups:
        for gate in gates.values():
            for pid in _workers(gate):
                groups.enter_context(held_to(SHARE, pid))
        for number in range(rounds):
            for name in [*found][:: 1 if number % 2 else -1]:
                sys.stderr.write(f"workers {number + 1}/{rounds}: {name}          \r")
                found[name].append(figure.measure(gates[name], folder, seconds))
    return found


@contextmanager
def _gates(folder: Path) -> Iterator[dict[str, Contender]]:
    with ExitStack() as stack:
        minio = stack.enter_context(servers.minio_server(folder / "minio"))
        valkey = stack.enter_context(servers.valkey_server(folder / "valkey"))
        running: dict[str, Gate] = {
            name: stack.enter_context(
                running_gate(
                    minio, valkey, folder / f"gate-{count}", workers=count, WIO_REDIS_URL=valkey.unix_url
                )
            )
            for name, count in COUNTS.items()
        }
        answer = folder / "answer"
        answer.write_bytes(_recorded(running[ONE]))
        endpoint, process = stack.enter_context(_recorded_node(folder, answer))
        for gate in running.values():
            gate.apply([gate.node(endpoint=endpoint)])
        yield {
            name: gate_contender(gate, {"redis": family(valkey.process.pid), "node": [process]})
            for name, gate in running.items()
        }


def _recorded(gate: Gate) -> bytes:
    """What MinIO answers to the small GET, head and body.

    Put there past the gate, which must not yet know where its node is: it will be somewhere else.
    """
    node, where = gate.node_client(), {"Bucket": gate.bucket, "Key": f"{gate.prefix('photos')}small"}
    node.put_object(**where, Body=os.urandom(SMALL))
    straight = node.generate_presigned_url("get_object", Params=where)
    host, _, target = straight.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host)
    connection.request("GET", f"/{target}")
    answer = connection.getresponse()
    head = "".join(f"{name}: {value}\r\n" for name, value in answer.getheaders())
    return f"HTTP/1.1 {answer.status} {answer.reason}\r\n{head}\r\n".encode() + answer.read()


@contextmanager
def _recorded_node(folder: Path, answer: Path) -> Iterator[tuple[str, int]]:
    port = servers.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with servers.running(
        [sys.executable, "-m", "bench.recorded", str(port), answer],
        ready=lambda: servers.http_status(endpoint) == 200,
        log=folder / "recorded.log",
    ) as process:
        yield endpoint, process.pid


def _workers(gate: Contender) -> list[int]:
    """The processes that serve: a parent of several only watches them."""
    parent, *children = gate.processes["proxy"]
    return children or [parent]
