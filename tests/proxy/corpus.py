"""Several hundred requests, in an order in which each finds what it needs: written ones and combinations."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from urllib.parse import quote

BUCKET = "diffs"
BODY = b"0123456789abcdef" * 4
KEYS = (
    "plain.txt",
    "with space +plus",
    "ünï/cødé/日本",
    "a&b<c>'\"",
    "percent%20literal",
    "deep/er/and/deeper",
    "dir/",
    "double//slash",
    "tab\tand\nnewline",
    "~tilde-_.!*()",
    "=equals;semi:colon@at,comma$",
)


@dataclass(frozen=True)
class Request:
    """One request. `{upload}` in `target` is the id that the last InitiateMultipartUpload of this side gave."""

    name: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)


def at(key: str, query: str = "") -> str:
    return f"/{BUCKET}/{quote(key, safe='/-_.~')}{'?' + query if query else ''}"


def of_bucket(query: str = "") -> str:
    return f"/{BUCKET}{'?' + query if query else ''}"


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


ETAG = f'"{hashlib.md5(BODY).hexdigest()}"'
PAST, FUTURE = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


def corpus() -> Iterator[Request]:
    yield from _writes()
    yield from _reads()
    yield from _listings()
    yield from _settings()
    yield from _tags()
    yield from _copies()
    yield from _multipart()
    yield from _failures()
    yield from _deletes()


def _writes() -> Iterator[Request]:
    about = (
        ("content-type", "text/x-test"),
        ("cache-control", "max-age=7"),
        ("content-disposition", 'attachment; filename="x y.txt"'),
        ("content-language", "de"),
        ("expires", FUTURE),
        ("x-amz-meta-who", "me"),
        ("x-amz-meta-with-space", "two  words"),
    )
    for key in KEYS:
        yield Request(f"put {key!r}", "PUT", at(key), about, b"" if key.endswith("/") else BODY)
    yield Request("put bare", "PUT", at("bare"), (), BODY)
    yield Request("put empty", "PUT", at("empty"), (), b"")
    yield Request("put with md5", "PUT", at("md5"), (("content-md5", md5(BODY)),), BODY)
    yield Request("put gzip", "PUT", at("gzip"), (("content-encoding", "gzip"),), BODY)
    yield Request("put class", "PUT", at("class"), (("x-amz-storage-class", "REDUCED_REDUNDANCY"),), BODY)
    yield Request("put tagged", "PUT", at("tagged"), (("x-amz-tagging", "a=1&b=two%20words"),), BODY)
    yield Request("put sha256", "PUT", at("sum"), (("x-amz-checksum-sha256", _sha256(BODY)),), BODY)
    yield Request("put if none match, there", "PUT", at("bare"), (("if-none-match", "*"),), BODY)
    yield Request("put if none match, new", "PUT", at("new"), (("if-none-match", "*"),), BODY)
    yield Request("put if match", "PUT", at("bare"), (("if-match", ETAG),), BODY)
    yield Request("put if match, other", "PUT", at("bare"), (("if-match", '"0"'),), BODY)


def _sha256(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _reads() -> Iterator[Request]:
    for key, method in product(KEYS, ("GET", "HEAD")):
        yield Request(f"{method} {key!r}", method, at(key))
    ranges = ("bytes=0-0", "bytes=2-4", "bytes=-3", "bytes=60-", "bytes=0-999", "bytes=64-", "bytes=5-2", "bytes=x-y",
              "bytes=0-1,3-4", "items=0-1", "bytes=-0")  # fmt: skip
    for value, method in product(ranges, ("GET", "HEAD")):
        yield Request(f"{method} {value}", method, at("plain.txt"), (("range", value),))
    conditions = (
        *(
            (name, value)
            for name in ("if-match", "if-none-match")
            for value in (ETAG, '"0"', "*", ETAG.strip('"'))
        ),
        *(
            (name, value)
            for name in ("if-modified-since", "if-unmodified-since")
            for value in (PAST, FUTURE, "x")
        ),
    )
    for pair, method in product(conditions, ("GET", "HEAD")):
        yield Request(f"{method} {pair[0]}: {pair[1]}", method, at("plain.txt"), (pair,))
    for one, two in product(conditions[:4], conditions[8:12]):
        yield Request(f"GET {one} {two}", "GET", at("plain.txt"), (one, two))
    for name in ("content-type", "content-language", "expires", "cache-control", "content-disposition"):
        yield Request(f"override {name}", "GET", at("plain.txt", f"response-{name}=x%20y%2Fz"))
    yield Request("override encoding", "GET", at("gzip", "response-content-encoding=identity"))
    for part in ("1", "2", "0", "x", "10001"):
        for method in ("GET", "HEAD"):
            yield Request(f"{method} part {part}", method, at("plain.txt", f"partNumber={part}"))
    for key in ("gzip", "class", "sum", "tagged", "empty", "new", "md5", "bare"):
        for method in ("GET", "HEAD"):
            yield Request(f"{method} {key}", method, at(key), (("x-amz-checksum-mode", "ENABLED"),))
    wanted = (
        "ETag",
        "ObjectSize",
        "StorageClass",
        "Checksum",
        "ObjectParts",
        "ETag,ObjectSize",
        "Nonsense",
        "",
    )
    for names, key in product(wanted, ("plain.txt", "sum", "not there")):
        pairs = (("x-amz-object-attributes", names),) if names else ()
        yield Request(f"attributes {names} {key}", "GET", at(key, "attributes"), pairs)
    yield Request("null version", "GET", at("plain.txt", "versionId=null"))
    yield Request("no such version", "GET", at("plain.txt", "versionId=d9c0e4a2-0000-4000-8000-000000000000"))
    yield Request("odd version", "GET", at("plain.txt", "versionId=xyz"))


def _listings() -> Iterator[Request]:
    forms = ("list-type=2", "", "versions")
    for form, prefix, delimiter, most in product(
        forms, ("", "d", "de", "ü", "zz"), ("", "/"), ("", "2", "0")
    ):
        query = [form] if form else []
        query += [f"prefix={quote(prefix)}"] if prefix else []
        query += [f"delimiter={quote(delimiter, safe='')}"] if delimiter else []
        query += [f"max-keys={most}"] if most else []
        for encoding in ("", "encoding-type=url"):
            text = "&".join([*query, *([encoding] if encoding else [])])
            # A newline in a key makes XML that no two parsers read alike, unless it is encoded.
            yield Request(f"list {text}", "GET", of_bucket(text))
    for query in (
        "list-type=2&start-after=deep", "list-type=2&fetch-owner=true", "list-type=2&max-keys=-1",
        "list-type=2&max-keys=x", "list-type=2&max-keys=5000", "marker=deep", "marker=deep&delimiter=%2F",
        "versions&key-marker=deep", "list-type=2&encoding-type=xml", "list-type=2&continuation-token=garbage",
        "list-type=2&delimiter=e", "delimiter=ee", "list-type=2&start-after=zzz", "list-type=3",
        "versions&version-id-marker=x", "max-keys=99999999999999999999",
    ):  # fmt: skip
        yield Request(f"list {query}", "GET", of_bucket(query))


def _settings() -> Iterator[Request]:
    names = (
        "location", "versioning", "policy", "policyStatus", "lifecycle", "cors", "encryption", "tagging",
        "notification", "replication", "object-lock", "website", "logging", "accelerate", "requestPayment", "acl",
    )  # fmt: skip
    for name in names:
        yield Request(f"get {name}", "GET", of_bucket(name))
    yield Request("head bucket", "HEAD", of_bucket())
    for name in ("acl", "retention", "legal-hold"):
        yield Request(f"object {name}", "GET", at("plain.txt", name))
        yield Request(f"missing object's {name}", "GET", at("not there", name))


TAGS = b"<Tagging><TagSet><Tag><Key>k</Key><Value>v w</Value></Tag></TagSet></Tagging>"


TEN = b"".join(b"<Tag><Key>k%d</Key><Value/></Tag>" % i for i in range(10))


def _tags() -> Iterator[Request]:
    yield Request("no tags", "GET", at("plain.txt", "tagging"))
    yield Request("put tags", "PUT", at("plain.txt", "tagging"), (("content-md5", md5(TAGS)),), TAGS)
    yield Request("get tags", "GET", at("plain.txt", "tagging"))
    yield Request("head tagged", "HEAD", at("plain.txt"))
    yield Request("tags of the missing", "GET", at("not there", "tagging"))
    yield Request("tag the missing", "PUT", at("not there", "tagging"), (("content-md5", md5(TAGS)),), TAGS)
    for name, bad in (
        ("twice", TAGS.replace(b"</Tag>", b"</Tag><Tag><Key>k</Key><Value>v</Value></Tag>", 1)),
        ("malformed", b"<Tagging><TagSet>"),
        ("nothing", b""),
        ("character", TAGS.replace(b"v w", b"v!")),
        ("eleven", TAGS.replace(b"<Tag>", TEN + b"<Tag>")),
        ("long", TAGS.replace(b">k<", b">" + b"k" * 129 + b"<")),
    ):  # fmt: skip
        yield Request(
            f"bad tags: {name}", "PUT", at("plain.txt", "tagging"), (("content-md5", md5(bad)),), bad
        )
    yield Request("delete tags", "DELETE", at("plain.txt", "tagging"))
    yield Request("bad header tags", "PUT", at("x"), (("x-amz-tagging", "a=1&a=2"),), BODY)


def _copies() -> Iterator[Request]:
    for key in KEYS:
        source = f"/{BUCKET}/{quote(key)}"
        yield Request(f"copy {key!r}", "PUT", at(f"copy of {key}"), (("x-amz-copy-source", source),))
        yield Request(f"head copy {key!r}", "HEAD", at(f"copy of {key}"))
    plain = f"{BUCKET}/plain.txt"
    for name, more in {
        "raw source": (),
        "replace": (
            ("x-amz-metadata-directive", "REPLACE"),
            ("content-type", "text/y"),
            ("x-amz-meta-new", "1"),
        ),
        "copy directive": (("x-amz-metadata-directive", "COPY"), ("x-amz-meta-new", "1")),
        "odd directive": (("x-amz-metadata-directive", "ODD"),),
        "tags": (("x-amz-tagging-directive", "REPLACE"), ("x-amz-tagging", "t=1")),
        "if match": (("x-amz-copy-source-if-match", ETAG),),
        "if match other": (("x-amz-copy-source-if-match", '"0"'),),
        "if none match": (("x-amz-copy-source-if-none-match", ETAG),),
        "if modified": (("x-amz-copy-source-if-modified-since", FUTURE),),
        "if unmodified": (("x-amz-copy-source-if-unmodified-since", PAST),),
    }.items():
        yield Request(f"copy, {name}", "PUT", at("target"), (("x-amz-copy-source", plain), *more))
        yield Request(f"copied, {name}", "HEAD", at("target"))
    yield Request("copy on itself", "PUT", at("bare"), (("x-amz-copy-source", f"{BUCKET}/bare"),))
    yield Request("copy missing", "PUT", at("target"), (("x-amz-copy-source", f"{BUCKET}/not there"),))
    yield Request("copy nonsense", "PUT", at("target"), (("x-amz-copy-source", "nonsense"),))


def complete(*parts: tuple[int, str]) -> bytes:
    rows = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in parts)
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()


def _multipart() -> Iterator[Request]:
    for key in ("parts", "parts ü &<", "dir/parts"):
        begin = (("content-type", "text/p"), ("x-amz-meta-m", "1"))
        yield Request(f"begin {key}", "POST", at(key, "uploads"), begin)
        where = "uploadId={upload}"
        yield Request(f"no parts {key}", "GET", at(key, where))
        yield Request(f"part {key}", "PUT", at(key, f"partNumber=1&{where}"), (), BODY)
        yield Request(f"part again {key}", "PUT", at(key, f"partNumber=1&{where}"), (), BODY)
        yield Request(f"bad part {key}", "PUT", at(key, f"partNumber=0&{where}"), (), BODY)
        yield Request(f"worse part {key}", "PUT", at(key, f"partNumber=10001&{where}"), (), BODY)
        source = (("x-amz-copy-source", f"{BUCKET}/plain.txt"), ("x-amz-copy-source-range", "bytes=0-9"))
        yield Request(f"part copy {key}", "PUT", at(key, f"partNumber=2&{where}"), source)
        beyond = (*source[:1], ("x-amz-copy-source-range", "bytes=0-99"))
        yield Request(f"part copy beyond {key}", "PUT", at(key, f"partNumber=2&{where}"), beyond)
        for query in ("", "&max-parts=1", "&part-number-marker=1", "&encoding-type=url", "&max-parts=x"):
            yield Request(f"parts {key} {query}", "GET", at(key, where + query))
        yield Request(f"complete malformed {key}", "POST", at(key, where), (), b"<x/>")
        yield Request(f"complete nothing {key}", "POST", at(key, where), (), complete())
        yield Request(f"complete missing {key}", "POST", at(key, where), (), complete((7, ETAG)))
        yield Request(f"complete wrong {key}", "POST", at(key, where), (), complete((1, '"0"')))
        yield Request(f"complete order {key}", "POST", at(key, where), (), complete((2, ETAG), (1, ETAG)))
        small = complete((1, ETAG), (2, f'"{hashlib.md5(BODY[:10]).hexdigest()}"'))
        yield Request(f"complete small {key}", "POST", at(key, where), (), small)
        yield Request(f"complete {key}", "POST", at(key, where), (), complete((1, ETAG)))
        yield Request(f"head {key}", "HEAD", at(key))
        yield Request(f"part 1 of {key}", "GET", at(key, "partNumber=1"))
        yield Request(f"too late {key}", "PUT", at(key, f"partNumber=1&{where}"), (), BODY)
        yield Request(f"abort too late {key}", "DELETE", at(key, where))
        yield Request(f"begin another {key}", "POST", at(key, "uploads"))
        yield Request(f"abort {key}", "DELETE", at(key, where))
        yield Request(f"abort twice {key}", "DELETE", at(key, where))
    for query in ("uploads", "uploads&prefix=x", "uploads&max-uploads=x"):
        yield Request(query, "GET", of_bucket(query))
    for method in ("GET", "PUT", "DELETE", "POST"):
        query = "uploadId=unknown" + ("&partNumber=1" if method == "PUT" else "")
        yield Request(f"{method} unknown upload", method, at("x", query), (), complete((1, ETAG)))


def _failures() -> Iterator[Request]:
    for method in ("GET", "HEAD", "DELETE"):
        yield Request(f"{method} missing", method, at("not there"))
    yield Request("bad md5", "PUT", at("x"), (("content-md5", md5(b"other")),), BODY)
    yield Request("malformed md5", "PUT", at("x"), (("content-md5", "x"),), BODY)
    yield Request("bad checksum", "PUT", at("x"), (("x-amz-checksum-sha256", _sha256(b"other")),), BODY)
    yield Request("malformed checksum", "PUT", at("x"), (("x-amz-checksum-sha256", "x"),), BODY)
    two = (("x-amz-checksum-sha256", _sha256(BODY)), ("x-amz-checksum-crc32", "AAAAAA=="))
    yield Request("two checksums", "PUT", at("x"), two, BODY)
    yield Request("odd class", "PUT", at("x"), (("x-amz-storage-class", "NONE_SUCH"),), BODY)
    yield Request("long key", "PUT", at("k" * 1025), (), BODY)
    yield Request("dots", "PUT", f"/{BUCKET}/a/../b", (), BODY)
    yield Request("customer's key in clear", "PUT", at("x"), (
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", base64.b64encode(b"k" * 32).decode()),
        ("x-amz-server-side-encryption-customer-key-md5", md5(b"k" * 32)),
    ), BODY)  # fmt: skip
    yield Request("huge metadata", "PUT", at("x"), (("x-amz-meta-a", "x" * 3000),), BODY)


def delete(*keys: str, quiet: bool = False, more: str = "") -> bytes:
    rows = "".join(
        f"<Object><Key>{key.replace('&', '&amp;').replace('<', '&lt;')}</Key>{more}</Object>" for key in keys
    )
    return f"<Delete>{'<Quiet>true</Quiet>' if quiet else ''}{rows}</Delete>".encode()


def _deletes() -> Iterator[Request]:
    for name, body in {
        "two": delete("bare", "not there"),
        "odd": delete("ünï/cødé/日本", "a&b<c>'\"", "percent%20literal"),
        "quiet": delete("md5", quiet=True),
        "nothing": delete(),
        "malformed": b"<Delete><Object>",
        "empty key": delete(""),
        "version": delete("gzip", more="<VersionId>null</VersionId>"),
    }.items():
        yield Request(
            f"delete many, {name}", "POST", of_bucket("delete"), (("content-md5", md5(body)),), body
        )
    yield Request("delete many, no digest", "POST", of_bucket("delete"), (), delete("x"))
    yield Request(
        "delete many, bad digest", "POST", of_bucket("delete"), (("content-md5", md5(b"x")),), delete("x")
    )
    yield Request("delete if match", "DELETE", at("class"), (("if-match", '"0"'),))
    for key in KEYS:
        yield Request(f"delete {key!r}", "DELETE", at(key))
        yield Request(f"gone {key!r}", "GET", at(key))
