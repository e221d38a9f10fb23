"""`python -m bench.instructions`: how many instructions the gate's worker executes for one request, step by step.

Counted by valgrind's callgrind, so that a busy machine gives the same figure as a quiet one. Of the kernel's work
nothing is in it, and hashing counts for more than it costs: callgrind's processor has no instructions for SHA.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench import callgrind, programs
from bench.callgrind import Counts
from bench.contenders import Contender, gate_contender
from bench.figures import FIGURES, fill
from bench.load import Request
from bench.report import replace_between
from tests import servers
from tests.proxy.gates import running_gate

#: The steps of the design (section 4): the functions by which each begins, as the compiler calls them, and what is
#: taken from it because it is a step of its own.
STEPS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "parse": (("target___parse_target",), ()),
    "verify": (("authentication___authenticate_gen",), ()),
    "plan": (("plan___make_plan",), ()),
    "admit": (("admission___admit_read_gen", "admission___admit_change_gen", "_Link___data_received"), ()),
    "sign": (("Signer___sign",), ()),
    "upstream": (("nodes___request_Nodes_gen", "Connection___data_received"), ("sign",)),
    "relay": (("relaying___relay_gen", "relaying___relay_small_gen", "call___answer_Call_gen"), ()),
    "settle": (("mutation___done_Mutation_gen", "events___tell"), ()),
    "log": (("Handler____record", "AccessLog____write"), ()),
    "server": (("WioHttpProtocol___data_received",), ()),
}
#: Whose code it is, by what the object file's name holds.
OBJECTS: Final = {
    "compiled": "wio_gate__mypyc",
    "Python": "python3",
    "crypto": "libcrypto",
    "C library": "libc.so",
    "uvloop, httptools, hiredis": "site-packages",
}
_CONNECTIONS: Final = 4
_WARM_UP: Final = 100
_BUDGET: Final = Path(__file__).parent / "budget.toml"
_PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"


def main() -> int:
    """Count, print the tables; return 1 when `--check` finds more than the budget allows."""
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("figures", nargs="*", default=["get", "head", "put"], metavar="FIGURE")
    parser.add_argument("--requests", type=int, default=400, help="how many are counted (400)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--check", action="store_true", help="compare with bench/budget.toml")
    options = parser.parse_args()
    try:
        compiled = _count(options.figures, options.requests, "auto")
        plain = {} if options.check else _count(options.figures, options.requests, "never")
    except programs.ProgramMissing as missing:
        sys.stderr.write(f"{missing}\n")
        return 2
    if options.check:
        return _check(compiled, options.requests)
    text = _tables(compiled, plain, options.requests)
    print(text)
    if options.write:
        replace_between(_PAGE, "instructions", text)
    return 0


def _count(figures: list[str], requests: int, compiled: str) -> dict[str, Counts]:
    control = programs.find("callgrind_control", package="valgrind")
    counted = {}
    with tempfile.TemporaryDirectory(prefix="wio-bench-") as name:
        folder = Path(name)
        with _gate(folder, compiled) as gate:
            fill(gate, folder)
            (worker,) = gate.processes["proxy"]
            for figure in figures:
                request = FIGURES[figure].prepare(gate, folder)
                with ExitStack() as stack:
                    parts = urlsplit(request.url)
                    connections = [
                        http.client.HTTPConnection(parts.hostname or "", parts.port)
                        for _ in range(_CONNECTIONS)
                    ]
                    for connection in connections:
                        stack.callback(connection.close)
                    _send(request, connections, _WARM_UP)
                    _tell(control, "-i", "on", worker)
                    _send(request, connections, requests)
                    _tell(control, "-i", "off", worker)
                _tell(control, "--dump", worker)
                # The file of the name itself is for the end; each dump on the way adds a number.
                (dump,) = folder.glob("dump.*")
                with dump.open(errors="replace") as lines:
                    counted[figure] = callgrind.read(lines)
                dump.unlink()
    return counted


def _tell(control: Path, *words: str | int) -> None:
    command = [str(word) for word in (control, *words)]
    subprocess.run(command, env=servers.clean_env(), capture_output=True, check=True)


@contextmanager
def _gate(folder: Path, compiled: str) -> Iterator[Contender]:
    with (
        servers.minio_server(folder / "minio") as minio,
        servers.valkey_server(folder / "valkey") as valkey,
        running_gate(
            minio,
            valkey,
            folder / "gate",
            module="bench.counted",
            WIO_COMPILED=compiled,
            WIO_REDIS_URL=valkey.unix_url,
            # What takes twenty times as long must not lose its lease.
            WIO_LEASE_SECONDS="10",
            WIO_BENCH_VALGRIND=str(programs.find("valgrind")),
            WIO_BENCH_DUMP=str(folder / "dump"),
        ) as gate,
    ):
        yield gate_contender(gate, {})


def _send(request: Request, connections: list[http.client.HTTPConnection], count: int) -> None:
    turns = [request, *request.others]
    for number in range(count):
        turn, connection = turns[number % len(turns)], connections[number % len(connections)]
        parts = urlsplit(turn.url)
        headers = {name: value for name, value in turn.headers if name != "Host"}
        body = turn.body.read_bytes() if turn.body is not None else None
        connection.request(turn.method, f"{parts.path}?{parts.query}", body, headers)
        with connection.getresponse() as answer:
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"{turn.method} {parts.path} was answered with {answer.status}")


def steps(counts: Counts) -> dict[str, int]:
    """Instructions of each step in a compiled build; what no step takes is `rest`."""
    found = {
        step: sum(cost for name, cost in counts.inclusive.items() if _is_any(name, functions))
        for step, (functions, _) in STEPS.items()
    }
    for step, (_, inside) in STEPS.items():
        found[step] -= sum(found[other] for other in inside)
    found["rest"] = counts.total - sum(found.values())
    return found


def _is_any(name: str, functions: tuple[str, ...]) -> bool:
    # A coroutine's body is its generator's helper; the rest of it is called from there.
    return name.startswith("CPyDef_") and any(
        name.endswith(f"{function}_____mypyc_generator_helper__" if function.endswith("_gen") else function)
        for function in functions
    )


def _tables(compiled: dict[str, Counts], plain: dict[str, Counts], requests: int) -> str:
    figures = list(compiled)
    lines = [
        f"Thousand instructions a request, of {requests} each (`python -m bench.instructions`).",
        "",
        f"| | {' | '.join(FIGURES[figure].title for figure in figures)} |",
        f"|---|{'--:|' * len(figures)}",
        _row("plain Python", [plain[figure].total for figure in figures], requests),
        _row("compiled", [compiled[figure].total for figure in figures], requests),
    ]
    for what, mark in OBJECTS.items():
        own = [
            sum(cost for name, cost in compiled[figure].by_object.items() if _is_of(name, mark))
            for figure in figures
        ]
        lines.append(_row(f"… of it {what}", own, requests))
    by_step = [steps(compiled[figure]) for figure in figures]
    lines += [
        "",
        f"| step | {' | '.join(FIGURES[figure].title for figure in figures)} |",
        f"|---|{'--:|' * len(figures)}",
    ]
    lines += [_row(step, [one[step] for one in by_step], requests) for step in by_step[0]]
    return "\n".join(lines) + "\n"


def _is_of(name: str, mark: str) -> bool:
    return mark in name and (mark != "site-packages" or "mypyc" not in name)


def _row(what: str, costs: list[int], requests: int) -> str:
    return f"| {what} | {' | '.join(f'{cost / requests / 1000:.0f}' for cost in costs)} |"


def _check(compiled: dict[str, Counts], requests: int) -> int:
    worse = 0
    for name, allowed in tomllib.loads(_BUDGET.read_text())["instructions"].items():
        if name in compiled:
            found = compiled[name].total / requests / 1000
            worse += found > allowed
            verdict = "ok" if found <= allowed else "WORSE"
            sys.stderr.write(
                f"{verdict:5} {name}: {found:.0f} thousand instructions, {allowed:.0f} allowed\n"
            )
    return int(worse > 0)


if __name__ == "__main__":
    sys.exit(main())
