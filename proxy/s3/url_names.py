"""Names in listings: `encoding-type=url`, and what XML 1.0 cannot carry.

The encoding is MinIO's, which S3's clients undo by form decoding: `/` and `*` stay, a space is `+`, and `~` is
escaped. Without it, MinIO writes control characters as references that XML 1.0 forbids and its own client
reads; the rest it replaces by U+FFFD. So does the gate, so that a client sees through it what it saw before.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote_plus, unquote_to_bytes

_SPECIAL: Final = re.compile("[&<>\"'\t\n\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_WRITTEN: Final = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&#34;",
    "'": "&#39;",
    "\t": "&#x9;",
    "\n": "&#xA;",
    "\r": "&#xD;",
    **{chr(number): f"&#x{number};" for number in range(8)},
}


def url_encode(name: str) -> str:
    """`name` as `encoding-type=url` writes it."""
    return quote_plus(name, safe="/*").replace("~", "%7E")


def url_decode(written: str) -> str:
    """The name that `encoding-type=url` wrote; raises UnicodeDecodeError when it is not UTF-8."""
    if "%" not in written and "+" not in written:
        return written
    return unquote_to_bytes(written.replace("+", " ")).decode("utf-8")


def xml_name(name: str) -> str:
    """`name` as character data, the way MinIO writes it."""
    if _SPECIAL.search(name) is None:
        return name
    return _SPECIAL.sub(lambda found: _WRITTEN.get(found[0], "\ufffd"), name)


def xml_names(names: list[str]) -> list[str]:
    """`xml_name` of each, at the price of one look where none needs writing otherwise."""
    if _SPECIAL.search("".join(names)) is None:
        return names
    return [xml_name(name) for name in names]
