"""What a node answers besides listings, made fit for the client.

Nothing of the node passes: its errors keep code and message and are written anew, results are read and written
again with virtual names. CompleteMultipartUpload and CopyObject may answer 200, then whitespace, then an
`<Error>` (https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html): the body decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from proxy.s3.errors import BadNodeAnswer, Code, S3Error, error
from proxy.s3.payload import CHECKSUMS
from proxy.s3.xml_read import Doomed, NotXML, child, children, local, parse_xml, text_of
from proxy.s3.xml_write import Deleted, ListedPart

#: The most of a node's error or result that is read, in bytes.
MAX_RESULT_BYTES: Final = 64 * 1024
#: And of the results that list: a thousand deletions or parts.
MAX_LIST_BYTES: Final = 8 * 1024 * 1024

_CODE: Final = re.compile(r"[A-Za-z0-9.]{1,64}")
_CHECKSUM_NAMES: Final = frozenset(f"Checksum{name.upper()}" for name in CHECKSUMS) | {"ChecksumType"}
#: Elements of an error that say something of the request and nothing of the node.
_KEPT_DETAILS: Final = frozenset(
    {
        "ActualObjectSize",
        "ArgumentName",
        "Condition",
        "ETag",
        "MaxSizeAllowed",
        "MinSizeAllowed",
        "PartNumber",
        "ProposedSize",
        "RangeRequested",
    }
)
#: Codes that speak of the gate's own standing at the node: to the client they are a failure of the service.
_OURS: Final = frozenset(
    {
        "AccountProblem",
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidTokenId",
        "NoSuchBucket",
        "PermanentRedirect",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TemporaryRedirect",
    }
)
#: Codes of a node that is full or busy; trying again can help, so that they stay themselves.
_BUSY: Final = frozenset({"SlowDown", "ServiceUnavailable", "XMinioServerNotInitialized", "InternalError"})
_STATUS_CODES: Final[Mapping[int, Code]] = {
    400: Code.INVALID_REQUEST,
    404: Code.NO_SUCH_KEY,
    405: Code.METHOD_NOT_ALLOWED,
    409: Code.CONDITIONAL_REQUEST_CONFLICT,
    411: Code.MISSING_CONTENT_LENGTH,
    412: Code.PRECONDITION_FAILED,
    416: Code.INVALID_RANGE,
    501: Code.NOT_IMPLEMENTED,
    503: Code.SLOW_DOWN,
}


def _always(text: str) -> Callable[[re.Match[str]], str]:
    return lambda _: text


@dataclass(frozen=True, slots=True)
class Names:
    """How to turn physical names into virtual ones: what to look for, and what the client called it."""

    bucket: str
    prefix: str
    virtual_bucket: str

    def clean(self, message: str) -> str:
        """A node's sentence without the node's names."""
        for physical, virtual in (
            (f"{self.bucket}/{self.prefix}", f"{self.virtual_bucket}/"),
            (self.prefix, ""),
            (self.bucket, self.virtual_bucket),
        ):
            if physical.strip("/"):
                tail = "" if physical.endswith("/") else r"(?![\w.-])"
                message = re.sub(rf"(?<![\w.-]){re.escape(physical)}{tail}", _always(virtual), message)
        return _URL.sub("", message)


_URL: Final = re.compile(r"https?://[^\s'\"<>]+")


def node_error(
    status: int,
    body: bytes,
    *,
    bucket: str,
    key: str,
    node_bucket: str,
    prefix: str,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> S3Error:
    """A node's error for the client: its code, status and sentence; never its bucket, key, resource, host or id.

    `bucket`, `key` are the client's names, `node_bucket`, `prefix` the node's. An error about the gate's own
    credentials or bucket is a malfunction, told as 500 InternalError. A body that cannot be read leaves the
    status to speak. Of `headers` only what tells of delete markers goes on.
    """
    names = Names(node_bucket, prefix, bucket)
    try:
        root = parse_xml(body.strip(), max_bytes=MAX_RESULT_BYTES, max_elements=256)
    except NotXML:
        return plain_error(status, headers, key=key)
    if local(root) != "Error":
        return plain_error(status, headers, key=key)
    failure = _read_error(root, status, names)
    return replace(failure, headers=(*failure.headers, *_marker_headers(headers)))


def plain_error(status: int, headers: Iterable[tuple[bytes, bytes]] = (), *, key: str = "k") -> S3Error:
    """A node's error without a document, as HEAD's are: the status speaks, and MinIO's own header names the code.

    `key` is '' for what concerns a bucket.
    """
    headers = list(headers)
    named = next((value.decode("latin-1") for name, value in headers if name == b"x-minio-error-code"), "")
    known = _KNOWN.get(named)
    if known is not None and known.status == status and named not in _OURS:
        failure = error(known)
    elif named in _OURS:
        failure = error(Code.INTERNAL_ERROR, _REFUSED_US)
    elif status == 403:
        failure = error(Code.ACCESS_DENIED, _NOT_ALLOWED)
    elif status == 404 and not key:
        failure = error(Code.INTERNAL_ERROR, _REFUSED_US)
    else:
        failure = _by_status(status)
    return replace(failure, headers=(*failure.headers, *_marker_headers(headers)))


_KNOWN: Final = {code.wire: code for code in Code}
_REFUSED_US: Final = "The storage node refused the gate. Please tell the node's operator."
_NOT_ALLOWED: Final = "The storage node does not allow this. Please ask the node's operator."
#: What an error tells of the object beside its document: a delete marker, or what a condition was compared with.
_MARKER_HEADERS: Final = frozenset({b"etag", b"last-modified", b"x-amz-delete-marker", b"x-amz-version-id"})


def _marker_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(pair for pair in headers if pair[0] in _MARKER_HEADERS)


def _read_error(root: etree._Element, status: int, names: Names) -> S3Error:
    code = text_of(child(root, "Code")).strip()
    if not _CODE.fullmatch(code):
        return _by_status(status)
    if code in _OURS:
        return error(
            Code.INTERNAL_ERROR, "The storage node refused the gate. Please tell the node's operator."
        )
    if code == "AccessDenied":
        # A lock, or a policy of the node's: final, so that no client tries again for a minute.
        return error(
            Code.ACCESS_DENIED, "The storage node does not allow this. Please ask the node's operator."
        )
    if status == 503 or code in _BUSY:
        status = status if status >= 500 else 503
        code = "SlowDown" if status == 503 else "InternalError"
    details = tuple(
        (local(node), names.clean(text_of(node)))
        for node in root
        if local(node) in _KEPT_DETAILS and not len(node)
    )
    message = names.clean(text_of(child(root, "Message")))[:1024] or "The storage node refused the request."
    if code.startswith("XMinio"):
        message = message.replace("MinIO", "The storage node")
    headers = ((b"retry-after", b"2"),) if status == 503 else ()
    return S3Error(code, status, message, details, headers)


def _by_status(status: int) -> S3Error:
    code = _STATUS_CODES.get(status)
    return error(code) if code else error(Code.INTERNAL_ERROR, "The storage node failed. Please try again.")


def _result(
    status: int, body: bytes, root_name: str, names: Names, max_bytes: int
) -> etree._Element | S3Error:
    try:
        root = parse_xml(body.strip(), max_bytes=max_bytes, max_elements=100_000)
    except NotXML as problem:
        if status >= 300:
            return _by_status(status)
        raise BadNodeAnswer(f"no {root_name}") from problem
    if local(root) == "Error":
        return _read_error(root, status if status >= 300 else 500, names)
    if status >= 300:
        return _by_status(status)
    if local(root) != root_name:
        raise BadNodeAnswer(f"no {root_name}")
    return root


def _checksums(node: etree._Element) -> tuple[tuple[str, str], ...]:
    return tuple((local(found), text_of(found)) for found in node if local(found) in _CHECKSUM_NAMES)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a finished upload or copy came to; `checksums` by element name."""

    etag: str
    last_modified: str = ""
    checksums: tuple[tuple[str, str], ...] = ()


def read_initiated(status: int, body: bytes, names: Names) -> str | S3Error:
    """The node's own upload id of an InitiateMultipartUploadResult. Raises `BadNodeAnswer` for another thing."""
    root = _result(status, body, "InitiateMultipartUploadResult", names, MAX_RESULT_BYTES)
    if isinstance(root, S3Error):
        return root
    upload_id = text_of(child(root, "UploadId"))
    if not upload_id or len(upload_id) > 2048:
        raise BadNodeAnswer("no upload id")
    return upload_id


def read_completed(status: int, body: bytes, names: Names) -> Stored | S3Error:
    """Whether a CompleteMultipartUpload succeeded: by its body, whatever the status.

    Raises `BadNodeAnswer` for a 200 whose body is neither result nor error: nothing is known then.
    """
    root = _result(status, body, "CompleteMultipartUploadResult", names, MAX_RESULT_BYTES)
    if isinstance(root, S3Error):
        return root
    return Stored(text_of(child(root, "ETag")), "", _checksums(root))


def read_copied(status: int, body: bytes, names: Names, *, part: bool = False) -> Stored | S3Error:
    """Whether a CopyObject (UploadPartCopy when `part`) succeeded: by its body, whatever the status.

    Raises `BadNodeAnswer` for a 200 whose body is neither result nor error.
    """
    root = _result(status, body, "CopyPartResult" if part else "CopyObjectResult", names, MAX_RESULT_BYTES)
    if isinstance(root, S3Error):
        return root
    return Stored(text_of(child(root, "ETag")), text_of(child(root, "LastModified")), _checksums(root))


def read_deleted(
    status: int, body: bytes, names: Names
) -> tuple[tuple[Deleted, ...], tuple[tuple[Doomed, S3Error], ...]] | S3Error:
    """The outcome of each object of a DeleteObjects, by virtual keys.

    An object that the answer does not name is in doubt: when one version id of several is malformed, MinIO
    answers an empty `<Deleted>` for another object. Raises `BadNodeAnswer` for a key outside the workspace.
    """
    root = _result(status, body, "DeleteResult", names, MAX_LIST_BYTES)
    if isinstance(root, S3Error):
        return root
    deleted = tuple(
        Deleted(
            _strip(text_of(child(node, "Key")), names.prefix),
            text_of(child(node, "VersionId")) or None,
            text_of(child(node, "DeleteMarker")).strip() == "true",
            text_of(child(node, "DeleteMarkerVersionId")) or None,
        )
        for node in children(root, "Deleted")
        if child(node, "Key") is not None
    )
    failed = tuple(
        (
            Doomed(
                _strip(text_of(child(node, "Key")), names.prefix), text_of(child(node, "VersionId")) or None
            ),
            _read_error(node, 400, names),
        )
        for node in children(root, "Error")
    )
    return deleted, failed


@dataclass(frozen=True, slots=True)
class Parts:
    """One page of a node's ListParts."""

    parts: tuple[ListedPart, ...]
    truncated: bool
    next_marker: int
    max_parts: int
    storage_class: str
    checksum: tuple[tuple[str, str], ...]


def read_parts(status: int, body: bytes, names: Names) -> Parts | S3Error:
    """The parts that a node lists. Raises `BadNodeAnswer` for numbers that are none."""
    root = _result(status, body, "ListPartsResult", names, MAX_LIST_BYTES)
    if isinstance(root, S3Error):
        return root
    parts = tuple(
        ListedPart(
            _number(node, "PartNumber"),
            text_of(child(node, "ETag")),
            _number(node, "Size"),
            text_of(child(node, "LastModified")),
            _checksums(node),
        )
        for node in children(root, "Part")
    )
    named = [(name, text_of(child(root, name))) for name in ("ChecksumAlgorithm", "ChecksumType")]
    return Parts(
        parts,
        text_of(child(root, "IsTruncated")).strip() == "true",
        _number(root, "NextPartNumberMarker", 0),
        _number(root, "MaxParts", 1000),
        text_of(child(root, "StorageClass")) or "STANDARD",
        tuple((name, value) for name, value in named if value),
    )


def _number(node: etree._Element, name: str, default: int | None = None) -> int:
    text = text_of(child(node, name)).strip()
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    if default is None or text:
        raise BadNodeAnswer(f"{name} is no number")
    return default


def _strip(key: str, prefix: str) -> str:
    if not key.startswith(prefix):
        raise BadNodeAnswer("a key outside the workspace")
    return key[len(prefix) :]
