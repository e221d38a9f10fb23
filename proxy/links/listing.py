"""A page of a listing, as entries for people."""

from __future__ import annotations

from typing import Final

from proxy.links.pages import Entry
from proxy.s3.listing import MAX_PAGE_BYTES
from proxy.s3.url_names import url_decode
from proxy.s3.xml_read import child, children, parse_xml, text_of

_MAX_ELEMENTS: Final = 20_000


def read_page(document: bytes, prefix: str) -> tuple[list[Entry], str | None]:
    """Return the entries below `prefix` of a ListObjectsV2 answer of ours (URL-encoded), and the next page's token."""
    root = parse_xml(document, max_bytes=MAX_PAGE_BYTES, max_elements=_MAX_ELEMENTS)
    folders = [
        Entry(url_decode(text_of(child(item, "Prefix")))[len(prefix) :])
        for item in children(root, "CommonPrefixes")
    ]
    files = [
        Entry(name, int(text_of(child(item, "Size"))), text_of(child(item, "LastModified")))
        for item in children(root, "Contents")
        # The folder's own marker has no name.
        if (name := url_decode(text_of(child(item, "Key")))[len(prefix) :])
    ]
    # What no path can name (`a//b`, `..`) cannot be fetched by one either.
    entries = [entry for entry in folders + files if entry.name.strip("/") not in ("", ".", "..")]
    more = (
        text_of(child(root, "NextContinuationToken"))
        if child(root, "NextContinuationToken") is not None
        else ""
    )
    return entries, more or None
