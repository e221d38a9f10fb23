"""What callgrind writes, read: instructions by object file and by function (its format is in valgrind's manual)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

#: A name comes with its number once, and as the number alone from then on.
_NAME: Final = re.compile(r"\((\d+)\)(?: (.*))?")
#: How deep in itself a function was called.
_DEPTH: Final = re.compile(r"'\d+$")


@dataclass(slots=True)
class Counts:
    """Instructions: `by_object` of a file's own code; `inclusive` of a function with all that it called."""

    by_object: Counter[str] = field(default_factory=Counter)
    inclusive: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All of them."""
        return self.by_object.total()


def read(lines: Iterable[str]) -> Counts:
    """Read a dump. A function that calls itself is counted from its outermost call."""
    counts = Counts()
    names: dict[str, dict[str, str]] = {"ob": {}, "fn": {}}
    here = function = ""
    is_call = False
    for line in lines:
        key, equals, rest = line.rstrip("\n").partition("=")
        if equals and key in ("ob", "fn", "cob", "cfn"):
            name = _resolve(names[key[-2:]], rest)
            if key == "ob":
                here = name
            elif key == "fn":
                function = name
        elif key == "calls":
            is_call = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            cost = int(line.split()[1])
            if not is_call:
                counts.by_object[here] += cost
            if not _DEPTH.search(function):
                counts.inclusive[function] += cost
            is_call = False
    return counts


def _resolve(known: dict[str, str], text: str) -> str:
    found = _NAME.fullmatch(text)
    if found is None:
        return text
    if found[2] is not None:
        known[found[1]] = found[2]
    return known[found[1]]
