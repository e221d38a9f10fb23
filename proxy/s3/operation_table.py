"""Every operation of S3, each with what the gate does about it: the table that code and documentation share.

Rows follow the S3 API reference
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html), and the
calls that it does not number: the POST form, the CORS preflight, and MinIO's ListenNotification.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from quota.answers import Permission


class Scope(Enum):
    """What a request names."""

    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"


class Disposition(Enum):
    """What the gate does with an operation."""

    HANDLED = "handled"
    #: Answered from `unconfigured.py`, as a bucket that has no such configuration answers.
    UNCONFIGURED = "unconfigured"
    #: 501 NotImplemented, which names the `wio` command that does the thing.
    REFUSED = "refused"


class Body(Enum):
    """What the request's body is."""

    NONE = "none"
    #: Object data, forwarded as it comes.
    STREAM = "stream"
    #: A small document, read whole within a bound and verified (protocol, rule 16).
    XML = "xml"
    #: multipart/form-data with the file last (protocol, rule 17).
    FORM = "form"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: how it is recognised, what it needs, and what becomes of it.

    `markers` query parameters that must be present, with the value each must have (None: any) ·
    `header` request header that must be present · `permission` on the bucket, None when none is needed ·
    `query` parameters that are forwarded · `command` the `wio` command that a refusal names.
    """

    name: str
    method: str
    scope: Scope
    markers: tuple[tuple[str, str | None], ...] = ()
    header: str | None = None
    permission: Permission | None = None
    disposition: Disposition = Disposition.HANDLED
    body: Body = Body.NONE
    query: frozenset[str] = frozenset()
    command: str = ""

    @property
    def is_write(self) -> bool:
        """Whether it may change what is stored."""
        return self.permission is not None and self.permission >= Permission.READWRITE


_B, _O, _S = Scope.BUCKET, Scope.OBJECT, Scope.SERVICE
_READ, _WRITE, _OWN = Permission.READ, Permission.READWRITE, Permission.OWN

_OVERRIDES: Final = frozenset(
    f"response-{name}"
    for name in (
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    )
)
_LIST: Final = frozenset({"delimiter", "encoding-type", "max-keys", "prefix"})


def _op(
    name: str,
    method: str,
    scope: Scope,
    sub: str | tuple[tuple[str, str | None], ...] = (),
    permission: Permission | None = None,
    *,
    header: str | None = None,
    body: Body = Body.NONE,
    query: frozenset[str] = frozenset(),
) -> Operation:
    markers = ((sub, None),) if isinstance(sub, str) else sub
    return Operation(name, method, scope, markers, header, permission, Disposition.HANDLED, body, query)


def _unset(name: str, sub: str, *, scope: Scope = _B, query: frozenset[str] = frozenset()) -> Operation:
    return Operation(
        name, "GET", scope, ((sub, None),), None, _READ, Disposition.UNCONFIGURED, Body.NONE, query
    )


def _no(
    name: str, method: str, scope: Scope, sub: str | None, command: str, header: str | None = None
) -> Operation:
    markers: tuple[tuple[str, str | None], ...] = ((sub, None),) if sub else ()
    permission = _READ if method == "GET" else _WRITE if scope is _O else _OWN
    return Operation(name, method, scope, markers, header, permission, Disposition.REFUSED, command=command)


_UPLOAD: Final = (("uploadId", None),)
_PART: Final = (("partNumber", None), ("uploadId", None))
_VERSION: Final = frozenset({"versionId"})

_HANDLED: Final = (
    _op(
        "ListBuckets",
        "GET",
        _S,
        query=frozenset({"max-buckets", "continuation-token", "prefix", "bucket-region"}),
    ),
    _op("CreateBucket", "PUT", _B, body=Body.XML),
    _op("HeadBucket", "HEAD", _B, (), _READ),
    _op("DeleteBucket", "DELETE", _B, (), _OWN),
    _op("GetBucketLocation", "GET", _B, "location", _READ),
    _op("ListObjects", "GET", _B, (), _READ, query=_LIST | {"marker"}),
    _op(
        "ListObjectsV2",
        "GET",
        _B,
        (("list-type", "2"),),
        _READ,
        query=_LIST | {"list-type", "continuation-token", "start-after", "fetch-owner", "metadata"},
    ),
    _op(
        "ListObjectVersions",
        "GET",
        _B,
        "versions",
        _READ,
        query=_LIST | {"versions", "key-marker", "version-id-marker", "metadata"},
    ),
    _op(
        "ListMultipartUploads",
        "GET",
        _B,
        "uploads",
        _READ,
        query=frozenset(
            {
                "uploads",
                "delimiter",
                "encoding-type",
                "key-marker",
                "max-uploads",
                "prefix",
                "upload-id-marker",
            }
        ),
    ),
    _op("DeleteObjects", "POST", _B, "delete", _WRITE, body=Body.XML, query=frozenset({"delete"})),
    _op("PostObject", "POST", _B, (), _WRITE, body=Body.FORM),
    _op(
        "ListenNotification",
        "GET",
        _B,
        "events",
        _READ,
        query=frozenset({"events", "prefix", "suffix", "ping"}),
    ),
    _op("GetObject", "GET", _O, (), _READ, query=_OVERRIDES | {"versionId", "partNumber"}),
    _op("HeadObject", "HEAD", _O, (), _READ, query=_OVERRIDES | {"versionId", "partNumber"}),
    _op("GetObjectAttributes", "GET", _O, "attributes", _READ, query=_VERSION | {"attributes"}),
    _op("PutObject", "PUT", _O, (), _WRITE, body=Body.STREAM),
    _op("CopyObject", "PUT", _O, (), _WRITE, header="x-amz-copy-source"),
    _op("DeleteObject", "DELETE", _O, (), _WRITE, query=_VERSION),
    _op("GetObjectTagging", "GET", _O, "tagging", _READ, query=_VERSION | {"tagging"}),
    _op("PutObjectTagging", "PUT", _O, "tagging", _WRITE, body=Body.XML, query=_VERSION | {"tagging"}),
    _op("DeleteObjectTagging", "DELETE", _O, "tagging", _WRITE, query=_VERSION | {"tagging"}),
    _op("GetObjectLegalHold", "GET", _O, "legal-hold", _READ, query=_VERSION | {"legal-hold"}),
    _op("GetObjectRetention", "GET", _O, "retention", _READ, query=_VERSION | {"retention"}),
    # A lock outlasts the share by which it was set, so that it takes the owner's permission.
    _op("PutObjectLegalHold", "PUT", _O, "legal-hold", _OWN, body=Body.XML, query=_VERSION | {"legal-hold"}),
    _op("PutObjectRetention", "PUT", _O, "retention", _OWN, body=Body.XML, query=_VERSION | {"retention"}),
    _op(
        "SelectObjectContent",
        "POST",
        _O,
        (("select", None), ("select-type", "2")),
        _READ,
        body=Body.XML,
        query=frozenset({"select", "select-type"}),
    ),
    _op("CreateMultipartUpload", "POST", _O, "uploads", _WRITE, query=frozenset({"uploads"})),
    _op(
        "UploadPart", "PUT", _O, _PART, _WRITE, body=Body.STREAM, query=frozenset({"partNumber", "uploadId"})
    ),
    _op(
        "UploadPartCopy",
        "PUT",
        _O,
        _PART,
        _WRITE,
        header="x-amz-copy-source",
        query=frozenset({"partNumber", "uploadId"}),
    ),
    _op("CompleteMultipartUpload", "POST", _O, _UPLOAD, _WRITE, body=Body.XML, query=frozenset({"uploadId"})),
    _op("AbortMultipartUpload", "DELETE", _O, _UPLOAD, _WRITE, query=frozenset({"uploadId"})),
    _op(
        "ListParts",
        "GET",
        _O,
        _UPLOAD,
        _READ,
        query=frozenset({"uploadId", "max-parts", "part-number-marker", "encoding-type"}),
    ),
)

_ID: Final = frozenset({"id", "continuation-token"})
_UNCONFIGURED: Final = (
    _unset("GetBucketAbac", "abac"),
    _unset("GetBucketAccelerateConfiguration", "accelerate"),
    _unset("GetBucketAcl", "acl"),
    _unset("ListBucketAnalyticsConfigurations", "analytics", query=_ID),
    _unset("GetBucketCors", "cors"),
    _unset("GetBucketEncryption", "encryption"),
    _unset("ListBucketIntelligentTieringConfigurations", "intelligent-tiering", query=_ID),
    _unset("ListBucketInventoryConfigurations", "inventory", query=_ID),
    _unset("GetBucketLifecycleConfiguration", "lifecycle"),
    _unset("GetBucketLogging", "logging"),
    _unset("GetBucketMetadataConfiguration", "metadataConfiguration"),
    _unset("GetBucketMetadataTableConfiguration", "metadataTable"),
    _unset("ListBucketMetricsConfigurations", "metrics", query=_ID),
    _unset("GetBucketNotificationConfiguration", "notification"),
    _unset("GetBucketOwnershipControls", "ownershipControls"),
    _unset("GetBucketPolicy", "policy"),
    _unset("GetBucketPolicyStatus", "policyStatus"),
    _unset("GetBucketReplication", "replication"),
    _unset("GetBucketRequestPayment", "requestPayment"),
    _unset("GetBucketTagging", "tagging"),
    _unset("GetBucketVersioning", "versioning"),
    _unset("GetBucketWebsite", "website"),
    _unset("GetObjectLockConfiguration", "object-lock"),
    _unset("GetPublicAccessBlock", "publicAccessBlock"),
    _unset("GetObjectAcl", "acl", scope=_O, query=_VERSION),
    # A browser asks before it sends, and signs nothing: answered alike for every bucket, known or not.
    Operation("PreflightRequest", "OPTIONS", _B, disposition=Disposition.UNCONFIGURED),
    Operation("PreflightObjectRequest", "OPTIONS", _O, disposition=Disposition.UNCONFIGURED),
)

#: Of the same request as another row: told apart by `id` alone, which both forms answer alike.
_WITH_ID: Final = tuple(
    Operation(
        f"GetBucket{name}Configuration",
        "GET",
        _B,
        ((sub, None), ("id", None)),
        None,
        _READ,
        Disposition.UNCONFIGURED,
        query=_ID,
    )
    for name, sub in (
        ("Analytics", "analytics"),
        ("IntelligentTiering", "intelligent-tiering"),
        ("Inventory", "inventory"),
        ("Metrics", "metrics"),
    )
)

_SHARE, _NODE, _ROOT, _LINK, _AUDIT = (
    "wio share create",
    "wio node show",
    "wio root show",
    "wio link create",
    "wio audit",
)
_QUOTA, _WATCH, _SHOW, _TOKEN = "wio quota show", "wio mc watch", "wio workspace show", "wio token create"

_REFUSED: Final = (
    _no("ListDirectoryBuckets", "GET", _S, "max-directory-buckets", "wio workspace list"),
    _no("WriteGetObjectResponse", "POST", _S, None, _LINK, header="x-amz-request-route"),
    _no("CreateSession", "GET", _B, "session", _TOKEN),
    _no("CreateBucketMetadataConfiguration", "POST", _B, "metadataConfiguration", "wio mc find"),
    _no("CreateBucketMetadataTableConfiguration", "POST", _B, "metadataTable", "wio mc find"),
    _no("DeleteBucketMetadataConfiguration", "DELETE", _B, "metadataConfiguration", "wio mc find"),
    _no("DeleteBucketMetadataTableConfiguration", "DELETE", _B, "metadataTable", "wio mc find"),
    _no(
        "UpdateBucketMetadataAnnotationTableConfiguration",
        "PUT",
        _B,
        "metadataAnnotationTable",
        "wio mc find",
    ),
    _no(
        "UpdateBucketMetadataInventoryTableConfiguration", "PUT", _B, "metadataInventoryTable", "wio mc find"
    ),
    _no("UpdateBucketMetadataJournalTableConfiguration", "PUT", _B, "metadataJournalTable", "wio mc find"),
    _no("PutBucketAbac", "PUT", _B, "abac", _SHARE),
    _no("PutBucketAccelerateConfiguration", "PUT", _B, "accelerate", _NODE),
    _no("PutBucketAcl", "PUT", _B, "acl", _SHARE),
    _no("PutBucketAnalyticsConfiguration", "PUT", _B, "analytics", _AUDIT),
    _no("DeleteBucketAnalyticsConfiguration", "DELETE", _B, "analytics", _AUDIT),
    _no("PutBucketCors", "PUT", _B, "cors", _NODE),
    _no("DeleteBucketCors", "DELETE", _B, "cors", _NODE),
    _no("PutBucketEncryption", "PUT", _B, "encryption", _ROOT),
    _no("DeleteBucketEncryption", "DELETE", _B, "encryption", _ROOT),
    _no("PutBucketIntelligentTieringConfiguration", "PUT", _B, "intelligent-tiering", _ROOT),
    _no("DeleteBucketIntelligentTieringConfiguration", "DELETE", _B, "intelligent-tiering", _ROOT),
    _no("PutBucketInventoryConfiguration", "PUT", _B, "inventory", _QUOTA),
    _no("DeleteBucketInventoryConfiguration", "DELETE", _B, "inventory", _QUOTA),
    _no("PutBucketLifecycleConfiguration", "PUT", _B, "lifecycle", _ROOT),
    _no("DeleteBucketLifecycle", "DELETE", _B, "lifecycle", _ROOT),
    _no("PutBucketLogging", "PUT", _B, "logging", _AUDIT),
    _no("PutBucketMetricsConfiguration", "PUT", _B, "metrics", _QUOTA),
    _no("DeleteBucketMetricsConfiguration", "DELETE", _B, "metrics", _QUOTA),
    _no("PutBucketNotificationConfiguration", "PUT", _B, "notification", _WATCH),
    _no("PutBucketOwnershipControls", "PUT", _B, "ownershipControls", _SHARE),
    _no("DeleteBucketOwnershipControls", "DELETE", _B, "ownershipControls", _SHARE),
    _no("PutBucketPolicy", "PUT", _B, "policy", _SHARE),
    _no("DeleteBucketPolicy", "DELETE", _B, "policy", "wio share revoke"),
    _no("PutBucketReplication", "PUT", _B, "replication", "wio mc mirror"),
    _no("DeleteBucketReplication", "DELETE", _B, "replication", "wio mc mirror"),
    _no("PutBucketRequestPayment", "PUT", _B, "requestPayment", "wio quota set"),
    _no("PutBucketTagging", "PUT", _B, "tagging", _SHOW),
    _no("DeleteBucketTagging", "DELETE", _B, "tagging", _SHOW),
    _no("PutBucketVersioning", "PUT", _B, "versioning", _ROOT),
    _no("PutBucketWebsite", "PUT", _B, "website", _LINK),
    _no("DeleteBucketWebsite", "DELETE", _B, "website", _LINK),
    _no("PutObjectLockConfiguration", "PUT", _B, "object-lock", _ROOT),
    _no("PutPublicAccessBlock", "PUT", _B, "publicAccessBlock", _SHARE),
    _no("DeletePublicAccessBlock", "DELETE", _B, "publicAccessBlock", _SHARE),
    _no("PutObjectAcl", "PUT", _O, "acl", _SHARE),
    _no("GetObjectTorrent", "GET", _O, "torrent", _LINK),
    _no("GetObjectAnnotation", "GET", _O, "annotationName", "wio mc tag"),
    _no("ListObjectAnnotations", "GET", _O, "annotation", "wio mc tag"),
    _no("PutObjectAnnotation", "PUT", _O, "annotation", "wio mc tag"),
    _no("DeleteObjectAnnotation", "DELETE", _O, "annotation", "wio mc tag"),
    _no("RenameObject", "PUT", _O, "renameObject", "wio mc mv"),
    _no("RestoreObject", "POST", _O, "restore", _NODE),
    _no("UpdateObjectEncryption", "PUT", _O, "encryption", "wio mc cp"),
    _no("AppendObject", "PUT", _O, None, "wio mc cp", header="x-amz-write-offset-bytes"),
)

OPERATIONS: Final[tuple[Operation, ...]] = (*_HANDLED, *_UNCONFIGURED, *_WITH_ID, *_REFUSED)
BY_NAME: Final[dict[str, Operation]] = {operation.name: operation for operation in OPERATIONS}
