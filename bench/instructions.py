"""`python -m bench.instructions`: how many instructions of user code the gate executes for one request.

Unlike a time it is the same on a busy machine and on a quiet one, to a hundredth or two. The steps are those of
`bench.profile`; only in a compiled build can callgrind see them.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench import callgrind, programs
from bench.callgrind import Control, Dump
from bench.contenders import Contender, gate_contender
from bench.figures import FIGURES, SMALL, fill_listing
from bench.load import LoadFailed, Request
from bench.profile import LOOP, STEPS
from bench.programs import ProgramMissing
from bench.report import replace_between
from proxy.compiled import LIBRARY
from proxy.compiled.build import CannotCompile, CompileFailed, build
from tests import servers
from tests.proxy.gates import running_gate

PLAIN: Final = "plain"
COMPILED: Final = "compiled"

#: Figure, and how many requests are counted: enough that what happens once in a while weighs little.
_FIGURES: Final = {"get": 400, "head": 400, "put": 400, "list": 40}
_CONNECTIONS: Final = 4
#: So many requests fill pools and caches before anything is counted.
_WARM: Final = 100
#: What code is part of, and what its object file has in its path; the first that fits.
_PARTS: Final = {
    "compiled modules": (LIBRARY,),
    "libcrypto": ("/libcrypto",),
    "httptools, uvloop, hiredis": ("/httptools/", "/uvloop/", "/hiredis/"),
    "interpreter": ("/lib-dynload/", "/python3", "/libpython3"),
    "libc": ("/libc.", "/libc-", "/libm.", "/ld-linux", "/ld-musl"),
}
_OTHER: Final = "other libraries"
#: Calls of functions that begin no step, one below the other, that are followed.
_DEEPEST: Final = 40
_BUDGET: Final = Path(__file__).with_name("budget.toml")


@dataclass(frozen=True, slots=True)
class Count:
    """Instructions of one request, in thousands: by what the code is part of, by step, and by function.

    `steps` and `functions` are empty for plain Python. A function has with it what it calls that is not compiled.
    """

    parts: Mapping[str, float]
    steps: Mapping[str, float]
    functions: Mapping[str, float]

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.parts.values())


#: Figure, then plain or compiled.
Counts = dict[str, dict[str, Count]]


def main() -> int:
    """Count, print, and compare or write; return 1 when `--check` finds more than the budget, 2 without valgrind.

    Where nothing can be compiled there is no budget to keep, and `--check` returns 0.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"{', '.join(_FIGURES)}; all by default")
    parser.add_argument(
        "--functions", type=int, default=0, metavar="N", help="and the N costliest compiled functions"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--check", action="store_true", help="compare with bench/budget.toml; compiled only")
    options = parser.parse_args()
    if unknown := set(options.figures) - {*_FIGURES}:
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    wanted = [name for name in _FIGURES if name in options.figures or not options.figures]
    try:
        programs.find("valgrind")
        build()
    except (ProgramMissing, CompileFailed) as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    except CannotCompile as problem:
        sys.stderr.write(f"{problem}\n")
        if options.check:
            return 0
        builds: tuple[str, ...] = (PLAIN,)
    else:
        builds = (COMPILED,) if options.check else (PLAIN, COMPILED)
    counts = _count(wanted, builds, with_steps=not options.check or options.functions > 0)
    print(table(counts))
    for name, ones in counts.items() if options.functions else ():
        print(f"{name}, thousands of instructions a request:")
        functions = Counter(ones[COMPILED].functions if COMPILED in ones else {})
        for function, thousands in functions.most_common(options.functions):
            print(f"{thousands:8.1f}  {function}")
    if options.write:
        page = Path(__file__).parent.parent / "docs" / "performance.md"
        replace_between(page, "instructions", table(counts))
    return check(counts, budget()) if options.check else 0


def budget() -> dict[str, float]:
    """Return the most that a request may take in a compiled build, thousands of instructions for each figure."""
    return {name: float(most) for name, most in tomllib.loads(_BUDGET.read_text())["instructions"].items()}


def check(counts: Counts, allowed: Mapping[str, float]) -> int:
    """Say on stderr how the compiled build keeps to what is allowed; return 1 when it does not."""
    worse = 0
    for name, ones in counts.items():
        if name not in allowed or COMPILED not in ones:
            continue
        is_worse = ones[COMPILED].total > allowed[name]
        worse += is_worse
        sys.stderr.write(
            f"{'WORSE' if is_worse else 'ok':5} {name}: {ones[COMPILED].total:,.0f} thousand instructions, "
            f"{allowed[name]:,.0f} allowed\n"
        )
    return int(worse > 0)


def table(counts: Counts) -> str:
    """Return all counts in Markdown, in thousands of instructions a request."""
    lines = [
        f"Thousands of instructions a request (`python -m bench.instructions`), Python {sys.version.split()[0]}.",
        "",
        "| | " + " | ".join(("all", *_PARTS, _OTHER)) + " |",
        "|---|" + "--:|" * (len(_PARTS) + 2),
    ]
    for name, ones in counts.items():
        for kind, count in ones.items():
            cells = (count.total, *(count.parts.get(part, 0.0) for part in (*_PARTS, _OTHER)))
            lines.append(f"| {FIGURES[name].title}, {kind} | {' | '.join(map(_form, cells))} |")
    steps = {
        name: ones[COMPILED].steps
        for name, ones in counts.items()
        if COMPILED in ones and ones[COMPILED].steps
    }
    if steps:
        titles = " | ".join(FIGURES[name].title for name in steps)
        lines += ["", f"| step, compiled | {titles} |", "|---|" + "--:|" * len(steps)]
        for step in (*STEPS, LOOP):
            cells = tuple(of.get(step, 0.0) for of in steps.values())
            lines.append(f"| {step} | {' | '.join(map(_form, cells))} |")
    return "\n".join(lines) + "\n"


def _form(thousands: float) -> str:
    return f"{thousands:,.0f}"


def by_part(dump: Dump) -> Counter[str]:
    """Return the instructions of each part, by the object files that the code is in."""
    found: Counter[str] = Counter()
    for (file, _), cost in dump.own.items():
        fitting = (part for part, marks in _PARTS.items() if any(mark in file for mark in marks))
        found[next(fitting, _OTHER)] += cost
    return found


def by_step(dump: Dump) -> dict[str, float]:
    """Return the instructions of each step in a dump that is folded; together they are all there are.

    What a function takes is its own step's, else that of whichever has called it, in the proportion in which they have.
    """
    callers: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (caller, called), cost in dump.calls.items():
        # A coroutine calls itself when one of its kind waits for another.
        if caller != called:
            callers[called][caller] = cost
    shares = {
        function: {step: 1.0}
        for function in {function for _, function in dump.own} | {caller for caller, _ in dump.calls}
        if (step := step_of(function))
    }
    inheriting = callers.keys() - shares.keys()
    # A step comes down by one call in each round.
    for _ in range(_DEEPEST):
        for function in inheriting:
            shares[function] = _inherited(callers[function], shares)
    found: defaultdict[str, float] = defaultdict(float)
    for (_, function), cost in dump.own.items():
        known = shares.get(function, {})
        for step, share in known.items():
            found[step] += cost * share
        found[LOOP] += cost * (1 - sum(known.values()))
    return found


def _inherited(callers: Mapping[str, int], shares: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    total = sum(callers.values())
    found: defaultdict[str, float] = defaultdict(float)
    for caller, cost in callers.items():
        for step, share in shares.get(caller, {}).items():
            found[step] += share * cost / total
    return found


def step_of(symbol: str) -> str | None:
    """Return the step that begins with a function of C, if one does."""
    name = callgrind.python_name(symbol)
    if name is None:
        return None
    for step, (_, known) in STEPS.items():
        if any(_is(name.split("."), function) for function in known):
            return step
    return None


def _is(parts: list[str], function: str) -> bool:
    """Whether a name of `callgrind.python_name` is `function`, or for `Class.` any method of the class."""
    owner, _, method = function.rpartition(".")
    if not owner:
        own, of_class = parts[-1] == method, len(parts) > 1 and parts[-2].lstrip("_")[:1].isupper()
        return (own and not of_class) or f"{method}_gen" in parts
    if not method:
        return owner in parts[:-1] or any(part.endswith(f"_{owner}_gen") for part in parts)
    return parts[-2:] == [owner, method] or f"{method}_{owner}_gen" in parts


def _count(wanted: list[str], builds: Iterable[str], *, with_steps: bool) -> Counts:
    counts: Counts = {name: {} for name in wanted}
    for kind in builds:
        whole = _dumps(wanted, kind, folded=False)
        # Another gate: while a caller is charged with what it calls, one cannot see in whose code that was.
        folded = _dumps(wanted, kind, folded=True) if with_steps and kind == COMPILED else {}
        for name in wanted:
            counts[name][kind] = _read(whole[name], folded.get(name), _FIGURES[name] * 1000)
            sees_ours = counts[name][kind].parts.get("compiled modules", 0) > 0
            if sees_ours != (kind == COMPILED):
                raise LoadFailed(f"the gate that was to be {kind} was not")
    return counts


def _read(whole: Dump, folded: Dump | None, per: int) -> Count:
    functions: Counter[str] = Counter()
    for (_, function), cost in folded.own.items() if folded else ():
        functions[callgrind.python_name(function) or function] += cost
    return Count(
        parts={part: cost / per for part, cost in by_part(whole).items()},
        steps={step: cost / per for step, cost in by_step(folded).items()} if folded else {},
        functions={function: cost / per for function, cost in functions.items()},
    )


def _dumps(wanted: list[str], kind: str, *, folded: bool) -> dict[str, Dump]:
    with tempfile.TemporaryDirectory(prefix="wio-bench-") as name:
        folder = Path(name)
        with _gate(folder, kind, folded=folded) as (gate, control):
            return {name: _dump(gate, control, folder, name) for name in wanted}


@contextmanager
def _gate(folder: Path, kind: str, *, folded: bool) -> Iterator[tuple[Contender, Control]]:
    dumps = folder / "dumps"
    dumps.mkdir()
    environment = {
        callgrind.FOLDER: str(dumps),
        callgrind.FOLDED: "yes" if folded else "no",
        "WIO_COMPILED": "auto" if kind == COMPILED else "never",
        # The places in a dictionary, and so the steps to them, are else drawn anew for each process.
        "PYTHONHASHSEED": "0",
        # Under callgrind a worker is slow enough to miss a short one.
        "WIO_LEASE_SECONDS": "20",
    }
    with ExitStack() as stack:
        minio = stack.enter_context(servers.minio_server(folder / "minio"))
        valkey = stack.enter_context(servers.valkey_server(folder / "valkey"))
        environment["WIO_REDIS_URL"] = valkey.unix_url
        gate = stack.enter_context(
            running_gate(minio, valkey, folder / "gate", module="bench.callgrind", **environment)
        )
        assert gate.process is not None
        yield gate_contender(gate, {}), Control(gate.process.pid, dumps)


def _dump(gate: Contender, control: Control, folder: Path, name: str) -> Dump:
    sys.stderr.write(f"{name}          \r")
    if name == "list":
        fill_listing(gate)
    else:
        gate.client.put_object(Bucket=gate.bucket, Key=f"{gate.prefix}small", Body=os.urandom(SMALL))
    request = FIGURES[name].prepare(gate, folder)
    with ExitStack() as stack:
        url = urlsplit(request.url)
        connections = [http.client.HTTPConnection(url.hostname or "", url.port) for _ in range(_CONNECTIONS)]
        for connection in connections:
            stack.callback(connection.close)
        turns = zip(cycle((request, *request.others)), cycle(connections), strict=False)
        _send(islice(turns, min(_WARM, _FIGURES[name])))
        control.begin()
        _send(islice(turns, _FIGURES[name]))
        return control.end()


def _send(turns: Iterable[tuple[Request, http.client.HTTPConnection]]) -> None:
    """Send one request after the other: what a worker finds to do at once would differ from run to run."""
    for request, connection in turns:
        url = urlsplit(request.url)
        connection.request(
            request.method,
            f"{url.path}?{url.query}" if url.query else url.path,
            body=request.body.read_bytes() if request.body else None,
            headers=dict(request.headers),
        )
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise LoadFailed(f"{request.method} {url.path}: {answer.status} {said[:200]!r}")


if __name__ == "__main__":
    sys.exit(main())
