"""The few pages that strangers see. No script, nothing from elsewhere, everything escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import quote

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color:#1b1f24;"
    "background:#fff}h1{font-size:1.3rem;overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}"
    "td{padding:.35rem .5rem .35rem 0;border-bottom:1px solid #d8dee4;overflow-wrap:anywhere}"
    "td+td{text-align:right;white-space:nowrap;color:#57606a}a{color:#0550ae}"
    "input,button{font:inherit;padding:.4rem .6rem}.wrong{color:#b42318}"
    "@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}a{color:#79b8ff}"
    "td{border-color:#30363d}td+td{color:#9198a1}.wrong{color:#ff7b72}}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: What every answer under a link carries: its URL is a secret, and it is decided anew each time.
COMMON: Final = (
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex, nofollow"),
    (b"cache-control", b"private, no-store"),
    (b"x-frame-options", b"DENY"),
)
PAGE_HEADERS: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        (
            f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ).encode(),
    ),
    *COMMON,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or (with a name that ends in /) folder of a listing; `size` in bytes, `changed` as the node tells it."""

    name: str
    size: int | None = None
    changed: str = ""


def _page(title: str, body: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    ).encode("utf-8", "replace")


def message(title: str, text: str) -> bytes:
    """A page that says one thing."""
    return _page(title, f"<p>{escape(text)}</p>")


def folder(title: str, entries: Sequence[Entry], *, is_top: bool, more: str | None) -> bytes:
    """A folder's page; `more` is the token of the next one."""
    rows = [] if is_top else ['<tr><td><a href="../">..</a></td><td></td><td></td></tr>']
    for entry in entries:
        # With `./` in front no name can be taken for a scheme or a host.
        slash = "/" if entry.name.endswith("/") else ""
        target = "./" + quote(entry.name.removesuffix("/"), safe="") + slash
        size = "" if entry.size is None else human(entry.size)
        rows.append(
            f'<tr><td><a href="{escape(target)}">{escape(entry.name)}</a></td>'
            f"<td>{size}</td><td>{escape(entry.changed[:10])}</td></tr>"
        )
    body = f"<table>{''.join(rows)}</table>" if rows else "<p>There is nothing here.</p>"
    if more is not None:
        body += f'<p><a href="?page={escape(quote(more, safe=""))}">More</a></p>'
    return _page(title, body)


def ask_password(title: str, *, wrong: bool) -> bytes:
    """The page that asks for a link's password."""
    told = '<p class="wrong">That is not the password.</p>' if wrong else ""
    return _page(
        title,
        f'{told}<form method="post"><p><label>Password <input type="password" name="password" required autofocus '
        'autocomplete="off"></label> <button>Open</button></p></form>',
    )


def drop_box(title: str, stored: str | None, most: int | None) -> bytes:
    """The page of a drop box; `stored` is the name under which a file has just been stored."""
    told = "" if stored is None else f"<p>Stored as {escape(stored)}. Thank you.</p>"
    limit = "" if most is None else f"<p>All files together may have {human(most)}.</p>"
    return _page(
        title,
        f'{told}<form method="post" enctype="multipart/form-data"><p><input type="file" name="file" required> '
        f"<button>Send</button></p></form>{limit}<p>What you send can be seen by the owner only.</p>",
    )


def human(size: int) -> str:
    """A size for people."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{size} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
