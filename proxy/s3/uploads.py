"""ListMultipartUploads, from the gate's own records.

Nodes cannot be asked: MinIO lists uploads only for an exact key, and its ids show the deployment (protocol,
rule 10). The page follows S3: uploads by key, then by time; keys that share what comes before the delimiter
are rolled up and count as one
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from proxy.s3.errors import XML_DECLARATION, XMLNS, Refusal, element
from proxy.s3.listing import MAX_KEYS, asks_url, owner_element, page_size
from proxy.s3.target import Query
from proxy.s3.url_names import url_encode, xml_name
from proxy.s3.xml_write import timestamp


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload in progress: virtual key, the id as clients know it, when it began (seconds, epoch)."""

    key: str
    upload_id: str
    initiated: float
    storage_class: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class UploadListing:
    """What the client asked for; '' where it gave nothing."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    key_marker: str = ""
    id_marker: str = ""
    max_uploads: int = MAX_KEYS
    url: bool = False


def parse_upload_listing(bucket: str, query: Query) -> UploadListing | Refusal:
    """The listing that a query asks for, or what is wrong with a parameter of it."""
    size = page_size(query, "max-uploads")
    if isinstance(size, Refusal):
        return size
    url = asks_url(query)
    if isinstance(url, Refusal):
        return url
    key_marker = query.get("key-marker") or ""
    return UploadListing(
        bucket,
        query.get("prefix") or "",
        query.get("delimiter") or "",
        key_marker,
        (query.get("upload-id-marker") or "") if key_marker else "",
        size,
        url,
    )


def list_uploads(listing: UploadListing, uploads: Iterable[Upload], *, owner: str) -> bytes:
    """ListMultipartUploadsResult: one page of `uploads`, which may come in any order."""
    ordered = sorted(uploads, key=lambda upload: (upload.key.encode(), upload.initiated, upload.upload_id))
    rows: list[str] = []
    prefixes: list[str] = []
    last_key, last_id, truncated = "", "", False
    for upload in _after(listing, ordered):
        rolled = _rolled(listing, upload.key)
        if rolled is not None and prefixes and prefixes[-1] == rolled:
            continue
        if len(rows) + len(prefixes) >= listing.max_uploads:
            truncated = listing.max_uploads > 0
            break
        if rolled is not None:
            prefixes.append(rolled)
            last_key, last_id = rolled, ""
        else:
            rows.append(_row(listing, upload, owner))
            last_key, last_id = upload.key, upload.upload_id
    return _document(listing, rows, prefixes, (last_key, last_id) if truncated else ("", ""), truncated)


def _after(listing: UploadListing, ordered: list[Upload]) -> Iterable[Upload]:
    marker = listing.key_marker.encode()
    passed_id = False
    for upload in ordered:
        if not upload.key.startswith(listing.prefix):
            continue
        if marker:
            key = upload.key.encode()
            if key < marker:
                continue
            if key == marker:
                # Without an id the marker's own key is over; with one, what follows it is still due.
                if not passed_id:
                    passed_id = upload.upload_id == listing.id_marker
                    continue
            elif listing.delimiter and _rolled(listing, upload.key) == listing.key_marker:
                continue
        yield upload


def _rolled(listing: UploadListing, key: str) -> str | None:
    if not listing.delimiter:
        return None
    at = key.find(listing.delimiter, len(listing.prefix))
    return key[: at + len(listing.delimiter)] if at >= 0 else None


def _name(listing: UploadListing, tag: str, value: str) -> str:
    return f"<{tag}>{url_encode(value) if listing.url else xml_name(value)}</{tag}>"


def _row(listing: UploadListing, upload: Upload, owner: str) -> str:
    return (
        f"<Upload>{_name(listing, 'Key', upload.key)}{element('UploadId', upload.upload_id)}"
        f"{owner_element(owner, 'Initiator')}{owner_element(owner)}"
        f"{element('StorageClass', upload.storage_class)}{element('Initiated', timestamp(upload.initiated))}</Upload>"
    )


def _document(
    listing: UploadListing, rows: list[str], prefixes: list[str], following: tuple[str, str], truncated: bool
) -> bytes:
    parts = [
        element("Bucket", listing.bucket),
        _name(listing, "KeyMarker", listing.key_marker),
        element("UploadIdMarker", listing.id_marker),
        _name(listing, "NextKeyMarker", following[0]),
        element("NextUploadIdMarker", following[1]),
        _name(listing, "Delimiter", listing.delimiter) if listing.delimiter else "",
        _name(listing, "Prefix", listing.prefix),
        "<EncodingType>url</EncodingType>" if listing.url else "",
        f"<MaxUploads>{listing.max_uploads}</MaxUploads>",
        f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>",
        *rows,
        *(f"<CommonPrefixes>{_name(listing, 'Prefix', prefix)}</CommonPrefixes>" for prefix in prefixes),
    ]
    name = "ListMultipartUploadsResult"
    return f'{XML_DECLARATION}<{name} xmlns="{XMLNS}">{"".join(parts)}</{name}>'.encode()
