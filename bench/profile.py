"""`python -m bench.profile`: where each microsecond of a small GET goes in the gate, step by step.

The steps are those of the design (section 4). Time that the kernel spends for a step is part of it; what is spent
between them, reading sockets and waking tasks, is the loop's.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from bench.contenders import GATE, STRAIGHT, Contender, contenders
from bench.figures import FIGURES, fill
from bench.machine import describe
from bench.report import replace_between
from bench.storage import node_storage

#: Step and what it is; the functions in which it is spent, the first that is found from the outside in counting.
STEPS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "parse": ("path, query, key: `proxy/s3/target.py`", ("parse_target",)),
    "verify": (
        "the client's signature: `proxy/authentication.py`, `sigv4/claims.py`, `sigv4/presented.py`",
        ("authenticate",),
    ),
    "plan": ("operation, headers: `proxy/s3/plan.py`", ("make_plan",)),
    "admit": (
        "one call to Redis, and the transfer taken in: `proxy/admission.py`, `quota/gate.py`, `quota/wire.py`",
        ("admit_read", "admit_change", "_Link."),
    ),
    "sign": ("the node's signature: `sigv4/sign.py`", ("Signer.sign",)),
    "upstream": (
        "the request to the node, and its answer read: `proxy/upstream/`",
        ("Upstream.exchange", "Connection.", "Nodes.", "store"),
    ),
    "relay": (
        "headers filtered, head and body written to the client: `proxy/operations/relaying.py`, `proxy/server/`",
        ("relay", "relay_small", "Call.answer"),
    ),
    "settle": ("the hold ended (writes only): `proxy/mutation.py`", ("Mutation.", "settled")),
    "log": ("metrics, access log, audit", ("Handler._record", "AccessLog.", "AuditTrail.")),
    "server": ("the request read and parsed: `proxy/server/protocol.py`", ("WioHttpProtocol.data_received",)),
    "handler": (
        "what is left of the handler: `proxy/handler.py`, `proxy/call.py`, `proxy/operations/`",
        ("WioHttpProtocol._work",),
    ),
}
LOOP: Final = "loop"


def main() -> int:
    """Drive the gate, sample it, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("figure", nargs="?", default="get", choices=["get", "head", "put", "list"])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to look (20)")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="and the N costliest functions")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wio-bench-") as name:
        folder = Path(name)
        with (
            node_storage(folder) as storage,
            contenders(
                folder,
                storage.folder,
                module="bench.sampled",
                WIO_BENCH_SAMPLES=str(folder / "samples"),
            ) as ones,
        ):
            text, functions = _profile(ones[GATE], ones[STRAIGHT], folder, options.figure, options.seconds)
    print(text)
    for function, micros in functions.most_common(options.functions):
        print(f"{micros:6.1f} µs  {function}")
    if options.write:
        replace_between(Path(__file__).parent.parent / "docs" / "performance.md", "profile", text)
    return 0


def _profile(
    gate: Contender, straight: Contender, folder: Path, name: str, seconds: float
) -> tuple[str, Counter[str]]:
    figure = FIGURES[name]
    fill(gate, folder)
    fill(straight, folder)
    figure.measure(gate, folder, 2)
    node = figure.measure(straight, folder, 3)
    pid, samples = gate.processes["proxy"][0], folder / "samples"
    os.kill(pid, signal.SIGUSR2)
    sample = figure.measure(gate, folder, seconds)
    os.kill(pid, signal.SIGUSR2)
    until = time.monotonic() + 10
    while not samples.exists() and time.monotonic() < until:
        time.sleep(0.05)
    counts, functions = _attribute(samples.read_text())
    total = sum(counts.values())
    for function in functions:
        functions[function] *= sample.cpu / total  # type: ignore[assignment]
    introduction = (
        f"{figure.title}, {figure.connections} connections, on {describe()}: {sample.cpu:.0f} µs of processor time a "
        f"request as plain Python, in {total} samples, where MinIO asked straight took {node.cpu:.0f} µs "
        f"(`python -m bench.profile {name}`)."
    )
    lines = [
        introduction,
        "",
        "| step | µs | what |",
        "|---|--:|---|",
    ]
    told = {
        **{step: what for step, (what, _) in STEPS.items()},
        LOOP: "what is nobody's: the event loop between steps",
    }
    lines += [f"| {step} | {counts[step] / total * sample.cpu:.0f} | {what} |" for step, what in told.items()]
    return "\n".join(lines) + "\n", functions


def _attribute(text: str) -> tuple[Counter[str], Counter[str]]:
    """Samples by step, and by the innermost function."""
    steps: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        names = stack.split(";")
        steps[_step_of(names)] += int(count)
        functions[names[-1]] += int(count)
    return steps, functions


def _step_of(names: list[str]) -> str:
    for step, (_, functions) in STEPS.items():
        for name in names:
            if any(name.startswith(known) if known.endswith(".") else name == known for known in functions):
                return step
    return LOOP


if __name__ == "__main__":
    sys.exit(main())
