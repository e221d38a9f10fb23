"""Listings between virtual and physical: the query one way, the document the other.

The node is always asked with `encoding-type=url`, so that whatever a key holds comes back in ASCII and exact;
then it is written as the client asked. A page is read either by one grammar of the shapes that MinIO and AWS
write, at about a millisecond for a thousand keys, or, when that does not match to the last byte, as a tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from lxml import etree

from proxy.s3.errors import XML_DECLARATION, XMLNS, BadNodeAnswer, Refusal, element, invalid_argument
from proxy.s3.target import Query, encode_query, key_problem, physical_problem
from proxy.s3.url_names import url_decode, url_encode, xml_name, xml_names
from proxy.s3.xml_read import NotXML, child, children, local, parse_xml, text_of

MAX_KEYS: Final = 1000
#: A page of a thousand keys of a kilobyte, each with its metadata.
MAX_PAGE_BYTES: Final = 32 * 1024 * 1024
MAX_PAGE_ELEMENTS: Final = 200_000


class Kind(Enum):
    """Which listing; the value is its operation."""

    V1 = "ListObjects"
    V2 = "ListObjectsV2"
    VERSIONS = "ListObjectVersions"

    @property
    def root(self) -> str:
        """The root element of its answer."""
        return "ListVersionsResult" if self is Kind.VERSIONS else "ListBucketResult"


_MARKERS: Final = {Kind.V1: "marker", Kind.V2: "start-after", Kind.VERSIONS: "key-marker"}
#: Where MinIO hangs the id of a cached listing on a marker; one that a client sends would choose among them.
_CACHE_ID: Final = re.compile(r"\[minio_cache:.*", re.DOTALL)
_CACHE_ID_AT_END: Final = re.compile(r"\[minio_cache:[^\[\]]*\]\Z")


@dataclass(frozen=True, slots=True)
class Listing:
    """What the client asked for; names are virtual, '' where it gave none.

    `marker` is marker, start-after or key-marker · `id_marker` version-id-marker · `token` the continuation
    token as it came, sealed · `url` whether it asked for encoding-type=url.
    """

    kind: Kind
    bucket: str
    prefix: str = ""
    delimiter: str = ""
    max_keys: int = MAX_KEYS
    marker: str = ""
    id_marker: str = ""
    token: str | None = None
    url: bool = False
    fetch_owner: bool = False
    metadata: bool = False

    def node_query(self, prefix: str, open_token: Callable[[str], bytes | None]) -> bytes | Refusal:
        """The query for the node, where `prefix` is the workspace's.

        `open_token` undoes the seal of a continuation token, and gives None for one that is not ours.
        """
        problem = physical_problem(prefix, self.prefix)
        if problem:
            return problem
        pairs = [("encoding-type", "url"), ("prefix", prefix + self.prefix), ("max-keys", str(self.max_keys))]
        if self.delimiter:
            pairs.append(("delimiter", self.delimiter))
        # An object called exactly `prefix` has no name here. It comes first, so that a page of one would have no key,
        # and no marker for the next page; nor has a page that ends among its versions.
        is_behind_own = self.max_keys == 1 and not self.prefix and self.token is None
        if self.marker or (prefix and (is_behind_own or self.id_marker)):
            pairs.append((_MARKERS[self.kind], prefix + self.marker))
        if self.id_marker:
            pairs.append(("version-id-marker", self.id_marker))
        if self.metadata:
            pairs.append(("metadata", "true"))
        if self.kind is Kind.VERSIONS:
            pairs.append(("versions", ""))
        if self.kind is Kind.V2:
            pairs.append(("list-type", "2"))
            if self.fetch_owner:
                pairs.append(("fetch-owner", "true"))
            if self.token is not None:
                token = open_token(self.token)
                if token is None:
                    return _bad_token(self.token)
                pairs.append(("continuation-token", token.decode("utf-8", "replace")))
        return encode_query(pairs)


def _bad_token(token: str) -> Refusal:
    return invalid_argument("continuation-token", token, "The continuation token provided is incorrect")


def parse_listing(operation: str, bucket: str, query: Query) -> Listing | Refusal:
    """The listing that a query asks for, or what is wrong with a parameter of it."""
    kind = Kind(operation)
    max_keys = page_size(query, "max-keys")
    if isinstance(max_keys, Refusal):
        return max_keys
    url = asks_url(query)
    if isinstance(url, Refusal):
        return url
    prefix = query.get("prefix") or ""
    problem = key_problem(prefix) if prefix else None
    if problem:
        return problem
    token = query.get("continuation-token") if kind is Kind.V2 else None
    if token == "":
        return _bad_token(token)
    return Listing(
        kind,
        bucket,
        prefix,
        query.get("delimiter") or "",
        max_keys,
        _CACHE_ID.sub("", query.get(_MARKERS[kind]) or ""),
        (query.get("version-id-marker") or "") if kind is Kind.VERSIONS else "",
        token,
        url,
        query.get("fetch-owner") == "true",
        query.get("metadata") == "true" and kind is not Kind.V1,
    )


def page_size(query: Query, name: str) -> int | Refusal:
    """`max-keys` or its like: 0 to 1,000, more counts as 1,000."""
    text = query.get(name)
    if not text:
        return MAX_KEYS
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        return invalid_argument(name, text, f"Argument {name} must be an integer between 0 and 2147483647")
    return min(int(text), MAX_KEYS)


def asks_url(query: Query) -> bool | Refusal:
    """Whether `encoding-type` is url; another one is refused."""
    text = query.get("encoding-type")
    if text and text.lower() != "url":
        return invalid_argument("encoding-type", text, "Invalid Encoding Method specified in Request")
    return bool(text)


def owner_element(owner: str, name: str = "Owner") -> str:
    """Who owns what a listing shows: an opaque virtual id, the same for a whole workspace."""
    return f"<{name}>{element('ID', owner)}{element('DisplayName', owner)}</{name}>"


def rewrite_listing(
    listing: Listing, prefix: str, body: bytes, *, owner: str, seal_token: Callable[[bytes], str]
) -> bytes:
    """The node's page as the client may see it: virtual names, opaque owner, sealed tokens.

    Objects called exactly `prefix` (a folder marker of the workspace itself) have no virtual name and are
    left out. Raises `BadNodeAnswer` for what is no listing, or shows a key outside `prefix`.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise BadNodeAnswer("a listing that is not UTF-8") from problem
    owned = owner_element(owner)
    page = _by_grammar(listing, prefix, text, owned) or _by_tree(listing, prefix, body, owned)
    return _assemble(listing, prefix, page, seal_token)


@dataclass(frozen=True, slots=True)
class _Page:
    """A node's page: `frame` the root with all but the items, `items` already virtual, `count` of them."""

    frame: etree._Element
    items: str
    count: int


_FIRST_ITEM: Final = re.compile(r"<(?:Contents|CommonPrefixes|Version|DeleteMarker)>")
#: How each item begins. A bare <Key> might also be the name of a piece of metadata.
_OPENINGS: Final = (
    "<Contents><Key>",
    "<CommonPrefixes><Prefix>",
    "<Version><Key>",
    "<DeleteMarker><Key>",
)
_LEAVES: Final = "LastModified|ETag|Size|StorageClass|IsLatest|VersionId|ChecksumAlgorithm|ChecksumType"
_OWNERS_BY_REPLACEMENT: Final = 4
_INTERNAL: Final = re.compile(r"<Internal><K>[0-9]*</K><M>[0-9]*</M></Internal>")
_OWNER: Final = re.compile("<Owner>.*?</Owner>")
_NAMES: Final = tuple((opening, re.compile(f"{opening}([^<]*)")) for opening in _OPENINGS)


def _grammar() -> re.Pattern[str]:
    leaves = "|".join(f"<{name}>[^<]*+</{name}>" for name in _LEAVES.split("|"))
    owner = r"<Owner><ID>[^<]*+</ID>(?:<DisplayName>[^<]*+</DisplayName>)?+</Owner>"
    # MinIO's metadata=true adds these three; a name in UserMetadata is a header's.
    metadata = r"<UserMetadata>(?:<[^<>/]++>[^<]*+</[^<>]++>)*</UserMetadata>"
    internal = r"<Internal><K>[0-9]*+</K><M>[0-9]*+</M></Internal>"
    rest = f"(?:{leaves}|{owner}|<UserTags>[^<]*+</UserTags>|{metadata}|{internal})*+"
    items = "|".join(
        f"<{name}><Key>[^<&]++</Key>{rest}</{name}>" for name in ("Contents", "Version", "DeleteMarker")
    )
    common = "<CommonPrefixes><Prefix>[^<&]++</Prefix></CommonPrefixes>"
    return re.compile(f"(?:{items}|{common})*+")


_GRAMMAR: Final = _grammar()


def _by_grammar(listing: Listing, prefix: str, text: str, owned: str) -> _Page | None:
    if "!" in text and "<!" in text:
        return None
    first = _FIRST_ITEM.search(text)
    if first is None:
        return None
    found = _GRAMMAR.match(text, first.start())
    if found is None:
        return None
    try:
        frame = parse_xml(
            (text[: first.start()] + text[found.end() :]).encode("utf-8"),
            max_bytes=64 * 1024,
            max_elements=64,
        )
    except NotXML:
        return None
    # Anything left beside the plain fields of a page is an item of a shape that the grammar does not know.
    if any(len(node) for node in frame) or text_of(child(frame, "EncodingType")).lower() != "url":
        return None
    start = url_encode(prefix)
    items, counts = found[0], []
    for opening in _OPENINGS:
        count = items.count(opening)
        counts.append(count)
        if count:
            stripped = items.replace(opening + start, opening)
            # A name that did not begin so is outside the prefix, or is written otherwise: the tree will tell.
            if len(items) - len(stripped) != count * len(start) or opening + "<" in stripped:
                return None
            items = stripped
    items = _replace_owners(items, owned)
    if "<Internal>" in items:
        items = _INTERNAL.sub("", items)
    if not listing.url and ("%" in items or "+" in items):
        try:
            items = _decode_names(items)
        except UnicodeDecodeError:
            return None
    return _Page(frame, items, sum(counts))


def _decode_names(items: str) -> str:
    """The names of all items, decoded and written as XML; raises UnicodeDecodeError."""
    for opening, pattern in _NAMES:
        if opening not in items:
            continue
        parts = pattern.split(items)
        # All names at once, parted by what none of them holds: a call for each costs three times as much.
        names = url_decode("\0".join(parts[1::2])).split("\0")
        if len(names) != len(parts) // 2:
            names = [url_decode(name) for name in parts[1::2]]
        parts[1::2] = [opening + name for name in xml_names(names)]
        items = "".join(parts)
    return items


def _replace_owners(items: str, owned: str) -> str:
    # The owner is mostly one for the whole page, so that replacing whole strings costs next to nothing.
    for _ in range(_OWNERS_BY_REPLACEMENT):
        begin = items.find("<Owner>")
        if begin < 0:
            return items.replace("\0", owned)
        end = items.index("</Owner>", begin) + len("</Owner>")
        items = items.replace(items[begin:end], "\0")
    return _OWNER.sub("\0", items).replace("\0", owned)


def _by_tree(listing: Listing, prefix: str, body: bytes, owned: str) -> _Page:
    try:
        root = parse_xml(body, max_bytes=MAX_PAGE_BYTES, max_elements=MAX_PAGE_ELEMENTS)
    except NotXML as problem:
        raise BadNodeAnswer("a listing that is not XML") from problem
    encoded = text_of(child(root, "EncodingType")).lower() == "url"
    items: list[str] = []
    count = 0
    for node in root:
        name = local(node)
        if name in ("Contents", "Version", "DeleteMarker"):
            written = _item(listing, prefix, node, encoded, owned)
        elif name == "CommonPrefixes":
            written = "".join(
                f"<CommonPrefixes><Prefix>{virtual}</Prefix></CommonPrefixes>"
                for found in children(node, "Prefix")
                if (virtual := _virtual(listing, prefix, text_of(found), encoded))
            )
        else:
            continue
        if written:
            items.append(written)
            count += 1
    return _Page(root, "".join(items), count)


def _item(listing: Listing, prefix: str, node: etree._Element, encoded: bool, owned: str) -> str:
    key_node = child(node, "Key")
    if key_node is None:
        raise BadNodeAnswer("an item without a key")
    key = _virtual(listing, prefix, text_of(key_node), encoded)
    if not key:
        return ""
    inner = [f"<Key>{key}</Key>"]
    for found in node:
        name = local(found)
        if name == "Owner":
            inner.append(owned)
        elif name not in ("Key", "Internal"):
            inner.append(_copy(found))
    return f"<{local(node)}>{''.join(inner)}</{local(node)}>"


def _copy(node: etree._Element) -> str:
    name = local(node)
    if len(node):
        return f"<{name}>{''.join(_copy(found) for found in node)}</{name}>"
    return element(name, node.text or "")


def _virtual(listing: Listing, prefix: str, written: str, encoded: bool) -> str:
    """A physical name as it is written for the client; '' for the prefix itself."""
    try:
        name = url_decode(written) if encoded else written
    except UnicodeDecodeError as problem:
        raise BadNodeAnswer("a name that is not UTF-8") from problem
    if not name.startswith(prefix):
        raise BadNodeAnswer("a name outside the workspace")
    return _written(listing, name[len(prefix) :])


def _written(listing: Listing, name: str) -> str:
    return url_encode(name) if listing.url else xml_name(name)


def _assemble(listing: Listing, prefix: str, page: _Page, seal_token: Callable[[bytes], str]) -> bytes:
    root = listing.kind.root
    frame = page.frame
    if local(frame) != root:
        raise BadNodeAnswer("not a listing")
    fields = {local(node): text_of(node) for node in frame}
    encoded = fields.get("EncodingType", "").lower() == "url"
    truncated = fields.get("IsTruncated", "").strip() == "true"

    def name(tag: str, value: str) -> str:
        return f"<{tag}>{_written(listing, value)}</{tag}>"

    def next_marker(tag: str) -> str:
        value = fields.get(tag, "")
        if not value or not truncated:
            return ""
        try:
            value = url_decode(value) if encoded else value
        except UnicodeDecodeError as problem:
            raise BadNodeAnswer("a marker that is not UTF-8") from problem
        value = _CACHE_ID_AT_END.sub("", value)
        if not value.startswith(prefix):
            raise BadNodeAnswer("a marker outside the workspace")
        return name(tag, value[len(prefix) :])

    parts = [XML_DECLARATION, f'<{root} xmlns="{XMLNS}">', element("Name", listing.bucket)]
    parts.append(name("Prefix", listing.prefix))
    if listing.kind is Kind.V1:
        parts.append(name("Marker", listing.marker))
        parts.append(next_marker("NextMarker"))
    elif listing.kind is Kind.VERSIONS:
        parts.append(name("KeyMarker", listing.marker))
        parts.append(element("VersionIdMarker", listing.id_marker))
        parts.append(next_marker("NextKeyMarker"))
        if truncated:
            parts.append(element("NextVersionIdMarker", fields.get("NextVersionIdMarker", "")))
    else:
        if listing.marker:
            parts.append(name("StartAfter", listing.marker))
        if listing.token is not None:
            parts.append(element("ContinuationToken", listing.token))
        token = fields.get("NextContinuationToken", "")
        if token and truncated:
            parts.append(element("NextContinuationToken", seal_token(token.encode("utf-8"))))
        parts.append(f"<KeyCount>{page.count}</KeyCount>")
    parts.append(f"<MaxKeys>{listing.max_keys}</MaxKeys>")
    if listing.delimiter:
        parts.append(name("Delimiter", listing.delimiter))
    parts.append(f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>")
    parts.append(page.items)
    if listing.url:
        parts.append("<EncodingType>url</EncodingType>")
    parts.append(f"</{root}>")
    return "".join(parts).encode("utf-8")
