"""The documents that the gate answers by itself, in the element order that S3 documents.

Each function gives a whole UTF-8 document. Times are seconds since the epoch, written as S3 writes them
(`2009-10-12T17:50:30.000Z`); names are virtual.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.s3.errors import XML_DECLARATION, XMLNS, S3Error, element
from proxy.s3.url_names import url_encode


def timestamp(seconds: float) -> str:
    """A time as S3 writes it in documents, in milliseconds, UTC."""
    return (
        datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        + f"{int(seconds * 1000) % 1000:03d}Z"
    )


def _document(root: str, *parts: str) -> bytes:
    return f'{XML_DECLARATION}<{root} xmlns="{XMLNS}">{"".join(parts)}</{root}>'.encode()


def _owner(owner: str, name: str, tag: str = "Owner") -> str:
    return f"<{tag}>{element('ID', owner)}{element('DisplayName', name)}</{tag}>"


def list_buckets(
    buckets: Iterable[tuple[str, float]],
    *,
    owner: str,
    owner_name: str,
    region: str | None = None,
    prefix: str | None = None,
    next_token: str | None = None,
) -> bytes:
    """ListAllMyBucketsResult of (name, creation time); every bucket has a CreationDate (Filestash needs it)."""
    rows = "".join(
        f"<Bucket>{element('Name', name)}{element('CreationDate', timestamp(created))}"
        f"{element('BucketRegion', region) if region else ''}</Bucket>"
        for name, created in buckets
    )
    tail = element("ContinuationToken", next_token) if next_token else ""
    tail += element("Prefix", prefix) if prefix is not None else ""
    return _document("ListAllMyBucketsResult", _owner(owner, owner_name), f"<Buckets>{rows}</Buckets>", tail)


def location(region: str) -> bytes:
    """LocationConstraint; us-east-1 is the empty one."""
    return f'{XML_DECLARATION}<LocationConstraint xmlns="{XMLNS}">{_region(region)}</LocationConstraint>'.encode()


def _region(region: str) -> str:
    return "" if region == "us-east-1" else element("R", region)[3:-4]


def initiate_multipart(bucket: str, key: str, upload_id: str) -> bytes:
    """InitiateMultipartUploadResult."""
    return _document(
        "InitiateMultipartUploadResult",
        element("Bucket", bucket),
        element("Key", key),
        element("UploadId", upload_id),
    )


def complete_multipart(
    bucket: str, key: str, etag: str, where: str, checksums: Iterable[tuple[str, str]] = ()
) -> bytes:
    """CompleteMultipartUploadResult; `where` is the Location, a URL of the gate; `checksums` by element name."""
    return _document(
        "CompleteMultipartUploadResult",
        element("Location", where),
        element("Bucket", bucket),
        element("Key", key),
        element("ETag", etag),
        *(element(name, value) for name, value in checksums),
    )


def copy_object(
    etag: str, last_modified: str, checksums: Iterable[tuple[str, str]] = (), *, part: bool = False
) -> bytes:
    """CopyObjectResult, or CopyPartResult when `part`; `last_modified` as the node wrote it."""
    return _document(
        "CopyPartResult" if part else "CopyObjectResult",
        element("LastModified", last_modified),
        element("ETag", etag),
        *(element(name, value) for name, value in checksums),
    )


@dataclass(frozen=True, slots=True)
class Deleted:
    """One success of a DeleteObjects."""

    key: str
    version_id: str | None = None
    delete_marker: bool = False
    delete_marker_version_id: str | None = None


def delete_result(
    deleted: Iterable[Deleted], errors: Iterable[tuple[str, str | None, S3Error]], *, quiet: bool = False
) -> bytes:
    """DeleteResult: successes (left out when `quiet`), then (key, version, error) for each failure."""
    parts: list[str] = []
    for one in () if quiet else deleted:
        inner = element("Key", one.key)
        inner += element("VersionId", one.version_id) if one.version_id else ""
        inner += "<DeleteMarker>true</DeleteMarker>" if one.delete_marker else ""
        if one.delete_marker_version_id:
            inner += element("DeleteMarkerVersionId", one.delete_marker_version_id)
        parts.append(f"<Deleted>{inner}</Deleted>")
    for key, version, failure in errors:
        inner = element("Key", key) + (element("VersionId", version) if version else "")
        parts.append(
            f"<Error>{inner}{element('Code', failure.code)}{element('Message', failure.message)}</Error>"
        )
    return _document("DeleteResult", *parts)


def post_response(bucket: str, key: str, etag: str, where: str) -> bytes:
    """PostResponse, of a form with success_action_status 201."""
    return _document(
        "PostResponse",
        element("Location", where),
        element("Bucket", bucket),
        element("Key", key),
        element("ETag", etag),
    )


@dataclass(frozen=True, slots=True)
class ListedPart:
    """One part of ListParts; `last_modified` as the node wrote it, `checksums` by element name."""

    number: int
    etag: str
    size: int
    last_modified: str
    checksums: tuple[tuple[str, str], ...] = ()


def list_parts(
    bucket: str,
    key: str,
    upload_id: str,
    parts: Iterable[ListedPart],
    *,
    owner: str,
    marker: int = 0,
    next_marker: int = 0,
    max_parts: int = 1000,
    truncated: bool = False,
    storage_class: str = "STANDARD",
    checksum: Iterable[tuple[str, str]] = (),
    url: bool = False,
) -> bytes:
    """ListPartsResult; `checksum` holds ChecksumAlgorithm and ChecksumType when the upload has them."""
    rows = [
        f"<Part><PartNumber>{part.number}</PartNumber>{element('LastModified', part.last_modified)}"
        f"{element('ETag', part.etag)}<Size>{part.size}</Size>"
        f"{''.join(element(name, value) for name, value in part.checksums)}</Part>"
        for part in parts
    ]
    return _document(
        "ListPartsResult",
        element("Bucket", bucket),
        element("Key", url_encode(key) if url else key),
        element("UploadId", upload_id),
        _owner(owner, owner, "Initiator"),
        _owner(owner, owner),
        element("StorageClass", storage_class),
        f"<PartNumberMarker>{marker}</PartNumberMarker>",
        f"<NextPartNumberMarker>{next_marker}</NextPartNumberMarker>",
        f"<MaxParts>{max_parts}</MaxParts>",
        f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>",
        *(element(name, value) for name, value in checksum),
        *rows,
        "<EncodingType>url</EncodingType>" if url else "",
    )
