"""Counting the instructions of a gate with valgrind's callgrind, and reading what it has written.

`python -m bench.callgrind …` is the proxy under callgrind, which writes into the folder `WIO_BENCH_CALLGRIND` and
counts nothing until told to. Only user code is counted, in all threads.
"""

from __future__ import annotations

import os
import re
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import programs

#: Where the dumps go.
FOLDER: Final = "WIO_BENCH_CALLGRIND"
#: "yes" lets what is no function of a compiled module of ours be counted to whichever has called it.
FOLDED: Final = "WIO_BENCH_CALLGRIND_FOLDED"

#: How mypyc begins the name of each function.
_PREFIX: Final = "CPyDef_"
_FIRST: Final = string.ascii_letters + string.digits + "_(<."
_LEVEL: Final = re.compile(r"'\d+$")
_NAME: Final = re.compile(r"\((\d+)\)(?: (.*))?")


@dataclass(frozen=True, slots=True)
class Dump:
    """What was counted. Recursion levels of a function are one.

    `own` instructions of each function itself, by object file and name · `calls` instructions below each call, by the
    names of who calls and who is called; for a recursion more than all of them.
    """

    own: Mapping[tuple[str, str], int]
    calls: Mapping[tuple[str, str], int]

    @property
    def total(self) -> int:
        """All instructions."""
        return sum(self.own.values())


def parse(text: str) -> Dump:
    """Read a dump in callgrind's format, version 1, with one event. Raises ValueError."""
    own: Counter[tuple[str, str]] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    names: dict[tuple[str, str], str] = {}
    file = function = called = ""
    is_call = False
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "ob":
            file = _name(names, "ob", value)
        elif key == "cob":
            _name(names, "ob", value)
        elif key == "fn":
            function = _LEVEL.sub("", _name(names, "fn", value))
        elif key == "cfn":
            called = _LEVEL.sub("", _name(names, "fn", value))
        elif key == "calls":
            is_call = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            _, cost = line.split()
            if is_call:
                calls[function, called] += int(cost)
                is_call = False
            else:
                own[file, function] += int(cost)
    return Dump(own, calls)


def _name(names: dict[tuple[str, str], str], kind: str, value: str) -> str:
    """The name that stands there, or that stood where its number came first."""
    found = _NAME.fullmatch(value)
    if found is None:
        return value
    if found[2] is not None:
        names[kind, found[1]] = found[2]
    if (kind, found[1]) not in names:
        raise ValueError(f"({found[1]}) has no name yet")
    return names[kind, found[1]]


def python_name(symbol: str) -> str | None:
    """Return the dotted name of what mypyc made a function of C from, None for any other function.

    The name begins with the end of its module's, as much as is needed to tell it from others. A coroutine is a class
    of its own, `coroutine_Class_gen`.
    """
    if not symbol.startswith(_PREFIX):
        return None
    return re.sub("___(3_)?", lambda found: "___" if found[1] else ".", symbol.removeprefix(_PREFIX))


class Control:
    """Starts and ends the counting in a process that runs under callgrind and writes into `folder`."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid = pid
        self._folder = folder

    def begin(self) -> None:
        """Count from now on."""
        self._tell("instrumentation", "on")

    def end(self) -> Dump:
        """Count no more; return what was counted since `begin`."""
        self._tell("instrumentation", "off")
        before = set(self._folder.iterdir())
        self._tell("dump")
        (made,) = set(self._folder.iterdir()) - before
        return parse(made.read_text(errors="replace"))

    def _tell(self, *words: str) -> None:
        subprocess.run(
            [programs.find("vgdb", package="valgrind"), f"--pid={self._pid}", *words],
            check=True,
            capture_output=True,
        )


def main() -> None:
    """Become the proxy under callgrind; its arguments are passed on."""
    valgrind = programs.find("valgrind")
    options = [
        "--tool=callgrind",
        "--instr-atstart=no",
        "--dump-line=no",
        f"--callgrind-out-file={os.environ[FOLDER]}/dump",
    ]
    if os.environ.get(FOLDED) == "yes":
        options += _folding()
    os.execv(valgrind, [str(valgrind), *options, sys.executable, "-m", "proxy", *sys.argv[1:]])


def _folding() -> list[str]:
    # There is no option for all but some. The longer ones go first: after a shorter one callgrind misses them.
    return [
        f"--fn-skip={_PREFIX[:length]}{other}*"
        for length in reversed(range(len("CPyDe")))
        for other in _FIRST
        if other != _PREFIX[length]
    ]


if __name__ == "__main__":
    main()
