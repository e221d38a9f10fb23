"""The plan of a request: a frozen value, made by pure code, that a thin runner carries out.

Order as in s3s's `prepare()`: path, query, headers, operation; the signature is checked between them by the
caller, on the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from proxy.s3.copy_source import HEADER, Conditions, Source, parse_conditions, parse_source, version_problem
from proxy.s3.errors import Code, Refusal, error, invalid_argument
from proxy.s3.headers import Headers, forward_headers, header_map, hoisted_headers, permission_needed
from proxy.s3.operation_table import Body, Disposition, Operation
from proxy.s3.operations import identify, not_implemented
from proxy.s3.payload import allowed_payload, trailer_checksum
from proxy.s3.target import Query, Target, encode_query
from proxy.s3.via import pass_via
from quota.answers import Permission
from sigv4.amz_content_sha256 import PayloadKind

MAX_OBJECT_BYTES: Final = 5 * 1024**4
MAX_PUT_BYTES: Final = 5 * 1024**3
MAX_PART_NUMBER: Final = 10_000
#: Bounds of the documents that the gate reads whole, in bytes.
DOCUMENT_BYTES: Final[Mapping[str, int]] = {
    "CreateBucket": 64 * 1024,
    "PutObjectLegalHold": 4 * 1024,
    "PutObjectRetention": 4 * 1024,
    "PutObjectTagging": 64 * 1024,
    "SelectObjectContent": 512 * 1024,
    "DeleteObjects": 4 * 1024 * 1024,
    "CompleteMultipartUpload": 4 * 1024 * 1024,
}
#: Size that is learned later: of a copy's source, of a form's file, of the parts of an upload.
UNKNOWN_BYTES: Final = -1

_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_RANGE: Final = re.compile(r"bytes=([0-9]{1,19})-([0-9]{1,19})")
_NO_CONDITIONS: Final = Conditions()
#: Forwarded by the runner with values of its own.
_OURS: Final = frozenset({"uploadId", "partNumber"})
# Reading a member from its class costs more than a call; these are read for every request.
_REFUSED: Final = Disposition.REFUSED
_READ: Final = Permission.READ
_NO_BODY: Final = Body.NONE


class Plan:
    """All that a request will need.

    `bucket`, `key` virtual names ('' where there is no key) · `raw_key` the key as received · `source` what a
    copy reads, with the client's `source_conditions` and `source_range` (first and last byte) ·
    `adds_bytes`, `adds_objects` the most that it may add; bytes may be `UNKNOWN_BYTES` · `payload` kind (BODY:
    not said), and the `trailer` checksum header that will follow · `content_length` bytes on the wire,
    `decoded_length` of them payload (None: no length was given, and none is needed) · `create_only` If-None-Match: * ·
    `upload_id` as the client gave it, sealed · `headers` for the node · `query` as received.
    """

    __slots__ = (
        "adds_bytes",
        "adds_objects",
        "bucket",
        "content_length",
        "create_only",
        "decoded_length",
        "headers",
        "key",
        "operation",
        "part_number",
        "payload",
        "permission",
        "query",
        "raw_key",
        "source",
        "source_conditions",
        "source_range",
        "trailer",
        "upload_id",
        "version_id",
    )

    def __init__(
        self,
        operation: Operation,
        bucket: str | None,
        key: str,
        raw_key: bytes,
        query: Query,
        headers: tuple[tuple[bytes, bytes], ...],
        permission: Permission | None,
        source: Source | None = None,
        source_conditions: Conditions = _NO_CONDITIONS,
        source_range: tuple[int, int] | None = None,
        adds_bytes: int = 0,
        adds_objects: int = 0,
        payload: PayloadKind = PayloadKind.BODY,
        trailer: str | None = None,
        content_length: int | None = None,
        decoded_length: int | None = None,
        create_only: bool = False,
        version_id: str | None = None,
        upload_id: str | None = None,
        part_number: int | None = None,
    ) -> None:
        self.operation: Final = operation
        self.bucket: Final = bucket
        self.key: Final = key
        self.raw_key: Final = raw_key
        self.query: Final = query
        self.headers: Final = headers
        self.permission: Final = permission
        self.source: Final = source
        self.source_conditions: Final = source_conditions
        self.source_range: Final = source_range
        self.adds_bytes: Final = adds_bytes
        self.adds_objects: Final = adds_objects
        self.payload: Final = payload
        self.trailer: Final = trailer
        self.content_length: Final = content_length
        self.decoded_length: Final = decoded_length
        self.create_only: Final = create_only
        self.version_id: Final = version_id
        self.upload_id: Final = upload_id
        self.part_number: Final = part_number

    def of_form(
        self,
        key: str,
        raw_key: bytes,
        headers: tuple[tuple[bytes, bytes], ...],
        permission: Permission | None,
        size: int,
    ) -> Plan:
        """This plan, of a form, with what the form's fields say; `size` in bytes."""
        return Plan(
            self.operation,
            self.bucket,
            key,
            raw_key,
            self.query,
            headers,
            permission,
            adds_bytes=size,
            adds_objects=self.adds_objects,
            payload=self.payload,
            content_length=self.content_length,
            decoded_length=size,
        )

    @property
    def body(self) -> Body:
        """What the request's body is."""
        return self.operation.body

    @property
    def document_bytes(self) -> int:
        """The most that a body of the kind `Body.XML` may have."""
        return DOCUMENT_BYTES.get(self.operation.name, 0)

    def node_query(self, upload_id: str | None = None) -> bytes:
        """The query string for the node, of an operation on an object; `upload_id` is the node's own.

        Listings have their own translation (`listing.py`).
        """
        if not self.query.meant:
            return b""
        allowed = self.operation.query
        pairs = [(name, value) for name, value in self.query.meant if name in allowed and name not in _OURS]
        if self.part_number is not None:
            pairs.append(("partNumber", str(self.part_number)))
        if upload_id is not None:
            pairs.append(("uploadId", upload_id))
        return encode_query(pairs) if pairs else b""


def make_plan(method: str, target: Target, headers: Headers, us: str | None = None) -> Plan | Refusal:
    """The plan of a request, or why it is refused before anything is asked or read.

    `headers` as ASGI gives them: lower-case names, raw values. `us` is the gate's name in `Via`. Never raises,
    whatever the bytes.
    """
    query = target.query
    if query.meant:
        hoisted = hoisted_headers(query.meant, headers)
        if isinstance(hoisted, Refusal):
            return hoisted
        if hoisted:
            headers = (*headers, *hoisted)
    named = header_map(headers)
    if isinstance(named, Refusal):
        return named
    operation = identify(method, target.bucket is not None, bool(target.key), query, named)
    if operation.disposition is _REFUSED:
        return not_implemented(operation, query)
    forwarded = forward_headers(operation, headers)
    if isinstance(forwarded, Refusal):
        return forwarded
    via = named.get("via")
    if via is not None:
        gates = pass_via(via, us)
        if isinstance(gates, Refusal):
            return gates
        forwarded += gates
    if operation.permission is _READ and operation.body is _NO_BODY:
        return _plan_read(operation, target, forwarded)
    return _plan_write(operation, target, forwarded, named)


def _plan_read(
    operation: Operation, target: Target, forwarded: tuple[tuple[bytes, bytes], ...]
) -> Plan | Refusal:
    query = target.query
    version_id: str | None = None
    part_number: int | None = None
    if query.meant:
        version = _version(operation, query)
        if isinstance(version, Refusal):
            return version
        part = _part_number(query) if "partNumber" in operation.query else None
        if isinstance(part, Refusal):
            return part
        version_id, part_number = version, part
    return Plan(
        operation,
        target.bucket,
        target.key,
        target.raw_key,
        query,
        forwarded,
        operation.permission,
        version_id=version_id,
        part_number=part_number,
        upload_id=query.by_name.get("uploadId"),
    )


def _plan_write(
    operation: Operation,
    target: Target,
    forwarded: tuple[tuple[bytes, bytes], ...],
    named: Mapping[str, str],
) -> Plan | Refusal:
    query = target.query
    name = operation.name
    form = allowed_payload(named.get("x-amz-content-sha256"), name)
    if isinstance(form, Refusal):
        return form
    trailer = trailer_checksum(form, named.get("x-amz-trailer"))
    if isinstance(trailer, Refusal):
        return trailer
    lengths = _lengths(operation, form, named)
    if isinstance(lengths, Refusal):
        return lengths
    content_length, decoded_length = lengths
    version_id = _version(operation, query)
    if isinstance(version_id, Refusal):
        return version_id
    part_number = _part_number(query) if "partNumber" in operation.query else None
    if isinstance(part_number, Refusal):
        return part_number
    source, conditions, source_range = None, _NO_CONDITIONS, None
    if operation.header == HEADER:
        parsed = parse_source(named[HEADER])
        if isinstance(parsed, Refusal):
            return parsed
        source = parsed
        checked = parse_conditions(named)
        if isinstance(checked, Refusal):
            return checked
        conditions = checked
        ranged = _range(named.get("x-amz-copy-source-range") if name == "UploadPartCopy" else None)
        if isinstance(ranged, Refusal):
            return ranged
        source_range = ranged
    adds_bytes, adds_objects = 0, int(name in ("PutObject", "CopyObject", "PostObject"))
    if operation.body is Body.STREAM:
        adds_bytes = decoded_length or 0
    elif source_range:
        adds_bytes = source_range[1] - source_range[0] + 1
    elif source or operation.body is Body.FORM:
        adds_bytes = UNKNOWN_BYTES
    return Plan(
        operation,
        target.bucket,
        target.key,
        target.raw_key,
        query,
        forwarded,
        permission_needed(operation, forwarded),
        source,
        conditions,
        source_range,
        adds_bytes,
        adds_objects,
        form,
        trailer,
        content_length,
        decoded_length,
        named.get("if-none-match") == "*",
        version_id,
        query.get("uploadId"),
        part_number,
    )


def _version(operation: Operation, query: Query) -> str | Refusal | None:
    version_id = query.get("versionId") if "versionId" in operation.query else None
    if not version_id:
        return None
    return version_problem(version_id) or version_id


def _part_number(query: Query) -> int | Refusal | None:
    text = query.get("partNumber")
    if text is None:
        return None
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= MAX_PART_NUMBER:
        return invalid_argument(
            "partNumber", text, f"Part number must be an integer between 1 and {MAX_PART_NUMBER}, inclusive"
        )
    return int(text)


def _range(text: str | None) -> tuple[int, int] | Refusal | None:
    if text is None:
        return None
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        return invalid_argument(
            "x-amz-copy-source-range",
            text,
            "The x-amz-copy-source-range value must be of the form bytes=first-last "
            "where first and last are the zero-based offsets of the first and last bytes to copy",
        )
    return int(found[1]), int(found[2])


def _length(named: Mapping[str, str], name: str) -> int | Refusal | None:
    text = named.get(name)
    if text is None:
        return None
    if not _DIGITS.fullmatch(text):
        return invalid_argument(name, text, f"{name} must be a decimal number.")
    return int(text)


def _lengths(
    operation: Operation, form: PayloadKind, named: Mapping[str, str]
) -> tuple[int | None, int | None] | Refusal:
    content_length = _length(named, "content-length")
    if isinstance(content_length, Refusal):
        return content_length
    if operation.body is Body.NONE:
        return content_length, None
    decoded_length = content_length
    if form.chunked:
        decoded = _length(named, "x-amz-decoded-content-length")
        if isinstance(decoded, Refusal):
            return decoded
        decoded_length = decoded
    if decoded_length is None:
        # An aws-chunked body may itself come in HTTP chunks (trinodb/aws-proxy#132); any other needs its length.
        if operation.name == "CreateBucket" and "transfer-encoding" not in named:
            return 0, 0
        return error(Code.MISSING_CONTENT_LENGTH)
    return _bounded(operation, content_length, decoded_length)


def _bounded(
    operation: Operation, content_length: int | None, decoded_length: int
) -> tuple[int | None, int | None] | Refusal:
    most = MAX_PUT_BYTES if operation.body is not Body.XML else DOCUMENT_BYTES[operation.name]
    if operation.body is Body.XML and decoded_length > most:
        return error(Code.MALFORMED_XML, f"The document has more than {most} bytes.")
    if decoded_length > most:
        return error(Code.ENTITY_TOO_LARGE, None, ProposedSize=str(decoded_length), MaxSizeAllowed=str(most))
    return content_length, decoded_length
