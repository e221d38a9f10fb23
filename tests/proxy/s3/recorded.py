"""Answers of real nodes, recorded once: what the translations are held to. MinIO of February 2026, unless named so.

They are of the bucket `bkt`, below the prefix `PREFIX`, with keys that look like XML, escapes and worse.
"""

from __future__ import annotations

import json
from pathlib import Path

DATA = Path(__file__).parent / "data"
BUCKET = "bkt"
PREFIX = "roots/jane/photos.abcdefghij234567/"
STATUS: dict[str, int] = json.loads((DATA / "status.json").read_text())
#: What tells of the node: the owner, host and deployment ids that it writes.
NODE_WORDS = ("02d6176db174dc93", "ac84be3ecc85f41d", "bkt", "roots/jane", "photos.abc", "minio")
KEYS = (
    "plain.txt",
    "a b/c+d.txt",
    "a b/é-ü.txt",
    'amp&<lt>"q".txt',
    "pct%20%2F.txt",
    "<Key>roots<.txt",
    "uni-中文/x",
    "ctl-\x01\x1f.txt",
    "tab\tnl\n.txt",
    "~tilde*star(p)'q!.txt",
    "deep/d/e/f.txt",
    "emoji-\U0001f600",
)


def answer(name: str) -> bytes:
    """The document recorded as `name`."""
    return (DATA / f"{name}.xml").read_bytes()
