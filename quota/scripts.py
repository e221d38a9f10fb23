"""The Lua scripts, one file a verb, as they are sent to Redis.

A script's header names its keys and the pieces of `lua/lib` that it uses; `load` turns the first into `local`s and
puts the second in front, so that a file reads as if it had both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from quota.layout import NAMES

_FOLDER: Final = Path(__file__).parent / "lua"
_KEYS: Final = re.compile(r"^-- keys: (.+)$", re.MULTILINE)
_USES: Final = re.compile(r"^-- uses: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One verb: `keys` are the names (see `layout.NAMES`) of the keys it declares, in order."""

    name: str
    keys: tuple[str, ...]
    source: str


@cache
def load(name: str) -> Script:
    """Return the script of a verb. Raises `ValueError` when its header names a key that the layout lacks."""
    text = (_FOLDER / f"{name}.lua").read_text()
    header = _KEYS.search(text)
    if header is None:
        raise ValueError(f"{name}.lua does not name its keys")
    keys = tuple(header.group(1).split())
    if unknown := set(keys) - NAMES.keys():
        raise ValueError(f"{name}.lua names unknown keys: {', '.join(sorted(unknown))}")
    uses = _USES.search(text)
    pieces = [(_FOLDER / "lib" / f"{use}.lua").read_text() for use in (uses.group(1).split() if uses else ())]
    # One `local` for each key of the layout: a piece may name a key that this verb does not declare, and must then
    # fail on nil rather than touch an undeclared key.
    bound = "local " + ", ".join(NAMES) + "\n"
    bound += "".join(f"{key} = KEYS[{i}]\n" for i, key in enumerate(keys, 1))
    return Script(name, keys, bound + "\n".join(pieces) + "\n" + text)
