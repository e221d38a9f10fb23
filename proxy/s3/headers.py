"""Which headers pass: of requests to the node, of answers to the client.

Both ways it is a whitelist, and it is complete: one that forgets `If-Match` overwrites silently
(developmentseed/multistore#120). A header that would change what is stored or who may see it, and that the
gate does not carry out, is refused; none is accepted and ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from proxy.s3.errors import Code, Refusal, error
from proxy.s3.operation_table import OPERATIONS, Operation
from proxy.s3.payload import CHECKSUM_HEADERS, content_encoding
from proxy.s3.target import SIGNATURE_PARAMETERS
from quota.answers import Permission

Headers = Sequence[tuple[bytes, bytes]]

_CONDITIONS: Final = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_CUSTOMER_KEY: Final = tuple(
    f"x-amz-server-side-encryption-customer-{part}" for part in ("algorithm", "key", "key-md5")
)
_SOURCE_CUSTOMER_KEY: Final = tuple(
    f"x-amz-copy-source-server-side-encryption-customer-{part}" for part in ("algorithm", "key", "key-md5")
)
_CONTENT: Final = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)
_STORE: Final = (
    *_CONTENT,
    *_CUSTOMER_KEY,
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
)
#: A lock outlasts the share by which it was set, so that it takes the owner's permission (`PutObjectRetention`).
LOCKS: Final = frozenset(
    {
        "x-amz-object-lock-legal-hold",
        "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date",
    }
)
_UPLOADED: Final = ("content-md5", *CHECKSUM_HEADERS)

#: Request headers that are forwarded, by operation; `x-amz-meta-*` besides where `METADATA_OPERATIONS` says.
FORWARDED: Final[Mapping[str, frozenset[str]]] = {
    "GetObject": frozenset({*_CONDITIONS, *_CUSTOMER_KEY, "range", "x-amz-checksum-mode"}),
    "HeadObject": frozenset({*_CONDITIONS, *_CUSTOMER_KEY, "range", "x-amz-checksum-mode"}),
    "GetObjectAttributes": frozenset(
        {*_CUSTOMER_KEY, "x-amz-max-parts", "x-amz-part-number-marker", "x-amz-object-attributes"}
    ),
    "ListObjects": frozenset({"x-amz-optional-object-attributes"}),
    "ListObjectsV2": frozenset({"x-amz-optional-object-attributes"}),
    "ListObjectVersions": frozenset({"x-amz-optional-object-attributes"}),
    "ListParts": frozenset(_CUSTOMER_KEY),
    "PutObject": frozenset({*_STORE, *_UPLOADED, *LOCKS, "if-match", "if-none-match"}),
    "CopyObject": frozenset(
        {
            *_STORE,
            *_SOURCE_CUSTOMER_KEY,
            *LOCKS,
            "if-match",
            "if-none-match",
            "x-amz-checksum-algorithm",
            "x-amz-metadata-directive",
            "x-amz-tagging-directive",
        }
    ),
    "CreateMultipartUpload": frozenset({*_STORE, *LOCKS, "x-amz-checksum-algorithm", "x-amz-checksum-type"}),
    "UploadPart": frozenset({*_UPLOADED, *_CUSTOMER_KEY}),
    "UploadPartCopy": frozenset({*_CUSTOMER_KEY, *_SOURCE_CUSTOMER_KEY, "x-amz-copy-source-range"}),
    "CompleteMultipartUpload": frozenset(
        {
            *CHECKSUM_HEADERS,
            *_CUSTOMER_KEY,
            "if-match",
            "if-none-match",
            "x-amz-checksum-type",
            "x-amz-mp-object-size",
        }
    ),
    "AbortMultipartUpload": frozenset({"x-amz-if-match-initiated-time"}),
    "SelectObjectContent": frozenset(_CUSTOMER_KEY),
    "DeleteObject": frozenset({"if-match", "x-amz-if-match-last-modified-time", "x-amz-if-match-size"}),
}
METADATA_OPERATIONS: Final = frozenset({"PutObject", "CopyObject", "CreateMultipartUpload"})

#: Read by the gate, or saying nothing about what is stored: neither forwarded nor refused.
CONSUMED: Final = frozenset(
    {
        "x-amz-api-version",
        "x-amz-bypass-governance-retention",
        "x-amz-content-sha256",
        "x-amz-copy-source",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-if-unmodified-since",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-request-payer",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-security-token",
        "x-amz-te",
        "x-amz-trailer",
        "x-amz-user-agent",
        *_UPLOADED,
    }
)

#: Values that ask for what holds anyway: accepted and not forwarded. Another value is refused with the command.
ALREADY_SO: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "x-amz-acl": (frozenset({"private", "bucket-owner-full-control"}), "wio share create"),
    "x-amz-bucket-namespace": (frozenset({"global"}), "wio workspace create"),
    "x-amz-bucket-object-lock-enabled": (frozenset({"false"}), "wio root show"),
    "x-amz-meta-snowball-auto-extract": (frozenset({"false"}), "wio mc cp"),
    "x-amz-object-ownership": (frozenset({"BucketOwnerEnforced"}), "wio share create"),
    "x-minio-extract": (frozenset({"false"}), "wio mc cat"),
    "x-minio-force-delete": (frozenset({"false"}), "wio mc rm"),
}
#: Refused whatever the value, with the command that does the thing.
REFUSED: Final[Mapping[str, str]] = {
    "x-amz-grant-full-control": "wio share create",
    "x-amz-grant-read": "wio share create",
    "x-amz-grant-read-acp": "wio share create",
    "x-amz-grant-write": "wio share create",
    "x-amz-grant-write-acp": "wio share create",
    "x-amz-mfa": "wio token create",
    "x-amz-server-side-encryption-aws-kms-key-id": "wio node show",
    "x-amz-server-side-encryption-bucket-key-enabled": "wio node show",
    "x-amz-server-side-encryption-context": "wio node show",
}
#: The gate's owners are no AWS accounts, so that a condition on one never holds.
OWNER_CONDITIONS: Final = frozenset({"x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"})

#: Answers' headers that reach the client, besides `x-amz-meta-*` and `x-amz-checksum-*`. The rest tells of the
#: node: server, date, request ids, bucket region, key ARNs, deployment, rate limits.
RELAYED: Final = frozenset(
    {
        "accept-ranges",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-range",
        "content-type",
        "etag",
        "expires",
        "last-modified",
        "retry-after",
        "x-amz-abort-date",
        "x-amz-copy-source-version-id",
        "x-amz-delete-marker",
        "x-amz-expiration",
        "x-amz-missing-meta",
        "x-amz-mp-parts-count",
        "x-amz-object-lock-legal-hold",
        "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date",
        "x-amz-object-size",
        "x-amz-request-charged",
        "x-amz-restore",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-customer-key-md5",
        "x-amz-storage-class",
        "x-amz-tagging-count",
        "x-amz-version-id",
        "x-amz-website-redirect-location",
    }
)

#: May come several times, and are then one list (RFC 9110, section 5.3).
_LISTS: Final = frozenset(
    {"accept", "accept-encoding", "cache-control", "content-encoding", "via", "x-forwarded-for"}
)
_META: Final = "x-amz-meta-"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")


def header_map(headers: Headers) -> dict[str, str] | Refusal:
    """Headers by lower-case name, values trimmed, as latin-1 text (RFC 9110 octets).

    A header that S3 reads and that comes twice is refused: the node and the gate might each take another one.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip(" \t")
        if name not in found:
            found[name] = value
        elif name.startswith(("x-amz-", "if-", "content-", "range", "x-minio-")) and not (
            name in _LISTS or name.startswith(_META)
        ):
            return error(Code.INVALID_ARGUMENT, "A header is given twice.", ArgumentName=name[:256])
        else:
            found[name] += "," + value
    return found


#: They are no headers, however a client spells them.
_PRESIGNED: Final = frozenset(name.lower() for name in SIGNATURE_PARAMETERS)
#: They say how the body is framed; whoever verifies reads them from the headers, and the hash in one spelling only.
_FRAMING: Final = frozenset({"x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer"})


def hoisted_headers(
    pairs: Iterable[tuple[str, str]], headers: Headers
) -> tuple[tuple[bytes, bytes], ...] | Refusal:
    """The headers that a presigned URL carries as parameters, as SDKs put them there, lower case.

    They mean the same as headers, to S3 and so to the gate: an ACL or a copy source in the URL is not
    overlooked. One that is also sent as the same header is not repeated. Control characters are refused.
    """
    found: list[tuple[bytes, bytes]] = []
    for parameter, value in pairs:
        name = parameter.lower()
        if not name.startswith("x-amz-") or name in _PRESIGNED:
            continue
        is_odd = name in _FRAMING and parameter != "X-Amz-Content-Sha256"
        if is_odd or not _TOKEN.fullmatch(name) or any(char < " " or char == "\x7f" for char in value):
            return error(
                Code.INVALID_ARGUMENT, "A parameter of the URL is no header.", ArgumentName=name[:256]
            )
        pair = (name.encode("ascii"), value.encode("utf-8", "replace"))
        if pair not in headers:
            found.append(pair)
    return tuple(found)


def _rules() -> dict[str, frozenset[bytes]]:
    return {
        operation.name: frozenset(name.encode("ascii") for name in FORWARDED.get(operation.name, frozenset()))
        for operation in OPERATIONS
    }


_FORWARD_BYTES: Final = _rules()
_CONSUMED_BYTES: Final = frozenset(name.encode("ascii") for name in CONSUMED)


def forward_headers(operation: Operation, headers: Headers) -> tuple[tuple[bytes, bytes], ...] | Refusal:
    """The request's headers that go to the node, or why the request is refused for one of them.

    Never among them: authentication, copy source and its conditions, lengths, and the payload hash, which the
    runner makes anew. `Content-Encoding` loses `aws-chunked`.
    """
    wanted = _FORWARD_BYTES[operation.name]
    metadata = operation.name in METADATA_OPERATIONS
    kept: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name in wanted:
            if name == b"content-encoding":
                coding = content_encoding(value.decode("latin-1"))
                if coding is None:
                    continue
                value = coding.encode("latin-1")
            elif name == b"x-amz-server-side-encryption" and value != b"AES256":
                return _refuse("x-amz-server-side-encryption", "wio node show")
            kept.append((name, value))
        elif name.startswith((b"x-amz-", b"x-minio-")) and name not in _CONSUMED_BYTES:
            refusal = _judge(operation, name.decode("latin-1"), value.decode("latin-1").strip())
            if refusal:
                return refusal
            if metadata and name.startswith(b"x-amz-meta-") and name != b"x-amz-meta-snowball-auto-extract":
                kept.append((name, value))
    return tuple(kept)


_LOCK_BYTES: Final = frozenset(name.encode("ascii") for name in LOCKS)


def permission_needed(operation: Operation, forwarded: Iterable[tuple[bytes, bytes]]) -> Permission | None:
    """The permission that a request needs: its operation's, and `own` where it sets a lock besides."""
    if any(name in _LOCK_BYTES for name, _ in forwarded):
        return Permission.OWN
    return operation.permission


def _judge(operation: Operation, name: str, value: str) -> Refusal | None:
    if name in OWNER_CONDITIONS:
        return error(Code.ACCESS_DENIED, f"The bucket is not owned by the account that {name} expects.")
    so = ALREADY_SO.get(name)
    if so:
        return None if value in so[0] else _refuse(name, so[1])
    if name in REFUSED:
        return _refuse(name, REFUSED[name])
    if name.startswith(_META):
        return None
    if name.startswith("x-minio-"):
        # MinIO's extensions speak of replication and of its internals; none is forwarded.
        return None
    if operation.is_write:
        return _refuse(name, "wio mc cp")
    return None


def _refuse(name: str, command: str) -> Refusal:
    return error(
        Code.NOT_IMPLEMENTED,
        f"The header {name[:64]} asks for what a workspace does not have. See: {command}.",
        Header=name[:64],
    )


_RELAYED_BYTES: Final = frozenset(name.encode("ascii") for name in RELAYED)
_RELAYED_PREFIXES: Final = (b"x-amz-meta-", b"x-amz-checksum-")
#: Names remembered with their verdict; a node sends the same few.
_MAX_NAMES: Final = 1000


#: Whether a header is relayed, by its name in lower case, as far as it was asked.
_verdicts: Final[dict[bytes, bool]] = {}


def _is_relayed(name: bytes) -> bool:
    verdict = name in _RELAYED_BYTES or name.startswith(_RELAYED_PREFIXES)
    if len(_verdicts) < _MAX_NAMES and len(name) < 100:
        _verdicts[name] = verdict
    return verdict


def relay_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The node's answer's headers that reach the client; names are lower case, order is kept.

    Whoever rewrites the body replaces `content-length` and, of a listing, nothing else.
    """
    kept = []
    for pair in headers:
        verdict = _verdicts.get(pair[0])
        if verdict is None:
            verdict = _is_relayed(pair[0])
        if verdict:
            kept.append(pair)
    return kept
