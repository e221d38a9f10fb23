"""The documents that clients send, read within bounds.

lxml with entities, DTDs and the network off; what has a DTD, is too deep, has too many elements or is not what
S3's schema says is `MalformedXML`. Namespaces are not compared, as S3 does not: clients leave them out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lxml import etree

from proxy.s3.copy_source import version_problem
from proxy.s3.errors import XML_DECLARATION, XMLNS, Code, Refusal, S3Error, element, error, invalid_argument
from proxy.s3.payload import CHECKSUMS
from proxy.s3.target import key_problem

MAX_DELETE_KEYS: Final = 1000
MAX_PARTS: Final = 10_000
MAX_DEPTH: Final = 8

_COUNT: Final = etree.XPath("count(//*)")
_TOO_DEEP: Final = etree.XPath(f"boolean({'/*' * (MAX_DEPTH + 1)})")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_CHECKSUM_ELEMENTS: Final = {f"Checksum{name.upper()}": f"x-amz-checksum-{name}" for name in CHECKSUMS}


class NotXML(Exception):
    """Bytes that are no XML document within the bounds."""


def parse_xml(body: bytes, *, max_bytes: int, max_elements: int) -> etree._Element:
    """The root of a document; raises `NotXML` for all that is malformed, has a DTD, or passes a bound."""
    if len(body) > max_bytes:
        raise NotXML("too many bytes")
    if b"<!" in body and (b"<!DOCTYPE" in body or b"<!ENTITY" in body):
        raise NotXML("a DTD")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as problem:
        raise NotXML("not well-formed") from problem
    # UTF-16 may hide a DTD from the look at the bytes.
    if root is None or root.getroottree().docinfo.internalDTD is not None:
        raise NotXML("a DTD")
    if _TOO_DEEP(root) or int(str(_COUNT(root)).partition(".")[0]) > max_elements:
        raise NotXML("too many elements")
    return root


def local(node: etree._Element) -> str:
    """The element's name without its namespace."""
    tag = str(node.tag)
    return tag.rpartition("}")[2]


def text_of(node: etree._Element | None) -> str:
    """The element's text, '' when it has none."""
    return (node.text or "") if node is not None else ""


def child(node: etree._Element, name: str) -> etree._Element | None:
    """The first child called `name`, in any namespace."""
    return next(children(node, name), None)


def children(node: etree._Element, name: str) -> Iterator[etree._Element]:
    """The children called `name`, in any namespace."""
    return (found for found in node if local(found) == name)


def _root(body: bytes, name: str, *, max_bytes: int, max_elements: int) -> etree._Element | Refusal:
    try:
        root = parse_xml(body, max_bytes=max_bytes, max_elements=max_elements)
    except NotXML:
        return error(Code.MALFORMED_XML)
    return root if local(root) == name else error(Code.MALFORMED_XML)


@dataclass(frozen=True, slots=True)
class Part:
    """One part as CompleteMultipartUpload names it; `checksums` by element name (`ChecksumCRC32`)."""

    number: int
    etag: str
    checksums: tuple[tuple[str, str], ...] = ()


def read_complete(body: bytes) -> tuple[Part, ...] | Refusal:
    """The parts of a CompleteMultipartUpload, in ascending order; else MalformedXML or InvalidPartOrder."""
    root = _root(body, "CompleteMultipartUpload", max_bytes=4 * 1024 * 1024, max_elements=10 * MAX_PARTS)
    if isinstance(root, Refusal):
        return root
    parts: list[Part] = []
    for node in children(root, "Part"):
        number, etag = text_of(child(node, "PartNumber")).strip(), text_of(child(node, "ETag")).strip()
        if not _NUMBER.fullmatch(number) or not etag or len(etag) > 256:
            return error(Code.MALFORMED_XML)
        if not 1 <= int(number) <= MAX_PARTS:
            return invalid_argument("PartNumber", number, "PartNumber must be >= 1 and <= 10000")
        checksums = tuple(
            (local(found), text_of(found).strip()) for found in node if local(found) in _CHECKSUM_ELEMENTS
        )
        if parts and int(number) <= parts[-1].number:
            return error(Code.INVALID_PART_ORDER)
        parts.append(Part(int(number), etag, checksums))
    if not parts or len(parts) > MAX_PARTS:
        return error(Code.MALFORMED_XML, "You must specify at least one part.")
    return tuple(parts)


def write_complete(parts: tuple[Part, ...]) -> bytes:
    """The CompleteMultipartUpload that goes to the node: what was read, and nothing else."""
    lines = [XML_DECLARATION, f'<CompleteMultipartUpload xmlns="{XMLNS}">']
    for part in parts:
        checksums = "".join(element(name, value) for name, value in part.checksums)
        lines.append(
            f"<Part><PartNumber>{part.number}</PartNumber>{element('ETag', part.etag)}{checksums}</Part>"
        )
    lines.append("</CompleteMultipartUpload>")
    return "".join(lines).encode("utf-8")


@dataclass(frozen=True, slots=True)
class Doomed:
    """One object of a DeleteObjects; `etag` is the condition If-Match of it."""

    key: str
    version_id: str | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """A DeleteObjects: what can be deleted, what is refused (with why), and whether to tell of successes."""

    objects: tuple[Doomed, ...]
    refused: tuple[tuple[Doomed, Refusal], ...]
    quiet: bool


def read_delete(body: bytes) -> DeleteRequest | Refusal:
    """The objects of a DeleteObjects: 1 to 1,000; else MalformedXML.

    A key that the gate refuses, or a condition that it does not carry out, fails alone, as S3's own do. A key
    named twice is kept once.
    """
    root = _root(body, "Delete", max_bytes=4 * 1024 * 1024, max_elements=8 * MAX_DELETE_KEYS)
    if isinstance(root, Refusal):
        return root
    nodes = list(children(root, "Object"))
    if not 1 <= len(nodes) <= MAX_DELETE_KEYS:
        return error(Code.MALFORMED_XML)
    good: dict[Doomed, None] = {}
    bad: list[tuple[Doomed, Refusal]] = []
    for node in nodes:
        key, version, etag = (text_of(child(node, name)) for name in ("Key", "VersionId", "ETag"))
        doomed = Doomed(key, version or None, etag or None)
        refusal = error(Code.MALFORMED_XML) if not key else key_problem(key)
        refusal = refusal or (version_problem(version) if version else None)
        if any(child(node, name) is not None for name in ("LastModifiedTime", "Size")):
            refusal = refusal or error(
                Code.NOT_IMPLEMENTED, "Delete by time or size is not implemented. See: wio mc rm."
            )
        if refusal:
            bad.append((doomed, refusal))
        else:
            good[doomed] = None
    return DeleteRequest(tuple(good), tuple(bad), text_of(child(root, "Quiet")).strip().lower() == "true")


def write_delete(objects: tuple[Doomed, ...], prefix: str) -> bytes:
    """The Delete that goes to the node, with physical keys; never quiet, so that every outcome is known."""
    lines = [XML_DECLARATION, f'<Delete xmlns="{XMLNS}">']
    for doomed in objects:
        version = element("VersionId", doomed.version_id) if doomed.version_id else ""
        etag = element("ETag", doomed.etag) if doomed.etag else ""
        lines.append(f"<Object>{element('Key', prefix + doomed.key)}{version}{etag}</Object>")
    lines.append("<Quiet>false</Quiet></Delete>")
    return "".join(lines).encode("utf-8")


def read_location(body: bytes) -> str | Refusal | None:
    """The region that a CreateBucketConfiguration asks for; None when it asks for none (or has no body)."""
    if not body.strip():
        return None
    root = _root(body, "CreateBucketConfiguration", max_bytes=64 * 1024, max_elements=64)
    if isinstance(root, Refusal):
        return root
    unknown = [local(node) for node in root if local(node) not in ("LocationConstraint", "Tags")]
    if unknown or child(root, "Tags") is not None:
        return error(
            Code.NOT_IMPLEMENTED,
            "Buckets with tags or of another kind are not made. See: wio workspace create.",
        )
    return text_of(child(root, "LocationConstraint")).strip() or None


def read_tagging(body: bytes) -> tuple[tuple[str, str], ...] | Refusal:
    """The tags of an object: at most 10, keys unique, up to 128 characters, values up to 256."""
    root = _root(body, "Tagging", max_bytes=64 * 1024, max_elements=64)
    if isinstance(root, Refusal):
        return root
    tag_set = child(root, "TagSet")
    if tag_set is None:
        return error(Code.MALFORMED_XML)
    tags: dict[str, str] = {}
    for node in tag_set:
        if local(node) != "Tag" or child(node, "Key") is None or child(node, "Value") is None:
            return error(Code.MALFORMED_XML)
        name, value = text_of(child(node, "Key")), text_of(child(node, "Value"))
        if not 1 <= len(name) <= 128 or len(value) > 256:
            return error(Code.INVALID_TAG, "The tag's key or value is too long or empty.", TagKey=name[:128])
        if name in tags:
            return error(Code.INVALID_TAG, "Cannot provide multiple Tags with the same key", TagKey=name)
        tags[name] = value
    if len(tags) > 10:
        return S3Error("BadRequest", 400, "Object tags cannot be greater than 10")
    return tuple(tags.items())


def write_tagging(tags: tuple[tuple[str, str], ...]) -> bytes:
    """A Tagging document, for the node or for the client."""
    inner = "".join(f"<Tag>{element('Key', name)}{element('Value', value)}</Tag>" for name, value in tags)
    return f'{XML_DECLARATION}<Tagging xmlns="{XMLNS}"><TagSet>{inner}</TagSet></Tagging>'.encode()
