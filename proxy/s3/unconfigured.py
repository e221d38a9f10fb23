"""What an unconfigured bucket answers about its settings.

A workspace is a prefix, so that it has none of them (design, section 3). Where MinIO has the call, the answer
is MinIO's for a fresh bucket, which its own clients expect; elsewhere AWS's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.s3.errors import XML_DECLARATION, XMLNS, Code, Refusal, S3Error, element, error


@dataclass(frozen=True, slots=True)
class Answer:
    """A 200 with a document."""

    body: bytes
    status: int = 200


def _empty(root: str, inner: str = "") -> Answer:
    return Answer(f'{XML_DECLARATION}<{root} xmlns="{XMLNS}">{inner}</{root}>'.encode())


_NO_PAGE: Final = "<IsTruncated>false</IsTruncated>"
_DOCUMENTS: Final[dict[str, Answer]] = {
    "GetBucketAbac": _empty("AbacStatus", "<Status>Disabled</Status>"),
    "GetBucketAccelerateConfiguration": _empty("AccelerateConfiguration"),
    "GetBucketLogging": _empty("BucketLoggingStatus"),
    "GetBucketNotificationConfiguration": _empty("NotificationConfiguration"),
    "GetBucketPolicyStatus": _empty("PolicyStatus", "<IsPublic>FALSE</IsPublic>"),
    "GetBucketRequestPayment": _empty("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>"),
    "GetBucketVersioning": _empty("VersioningConfiguration"),
    "ListBucketAnalyticsConfigurations": _empty("ListBucketAnalyticsConfigurationsResult", _NO_PAGE),
    "ListBucketIntelligentTieringConfigurations": _empty(
        "ListBucketIntelligentTieringConfigurationsOutput", _NO_PAGE
    ),
    "ListBucketInventoryConfigurations": _empty("ListInventoryConfigurationsResult", _NO_PAGE),
    "ListBucketMetricsConfigurations": _empty("ListMetricsConfigurationsResult", _NO_PAGE),
}
_ERRORS: Final[dict[str, S3Error]] = {
    "GetBucketAnalyticsConfiguration": error(Code.NO_SUCH_CONFIGURATION),
    "GetBucketCors": error(Code.NO_SUCH_CORS),
    "GetBucketEncryption": error(Code.SSE_NOT_FOUND),
    "GetBucketIntelligentTieringConfiguration": error(Code.NO_SUCH_CONFIGURATION),
    "GetBucketInventoryConfiguration": error(Code.NO_SUCH_CONFIGURATION),
    "GetBucketLifecycleConfiguration": error(Code.NO_SUCH_LIFECYCLE),
    "GetBucketMetadataConfiguration": error(
        Code.NO_SUCH_CONFIGURATION, "The metadata configuration of the bucket does not exist."
    ),
    "GetBucketMetadataTableConfiguration": error(
        Code.NO_SUCH_CONFIGURATION, "The metadata table configuration of the bucket does not exist."
    ),
    "GetBucketMetricsConfiguration": error(Code.NO_SUCH_CONFIGURATION),
    "GetBucketOwnershipControls": error(Code.OWNERSHIP_CONTROLS_NOT_FOUND),
    "GetBucketPolicy": error(Code.NO_SUCH_BUCKET_POLICY),
    "GetBucketReplication": error(Code.REPLICATION_NOT_FOUND),
    "GetBucketTagging": error(Code.NO_SUCH_TAG_SET),
    "GetBucketWebsite": error(Code.NO_SUCH_WEBSITE),
    "GetObjectLockConfiguration": error(Code.OBJECT_LOCK_NOT_FOUND),
    "GetPublicAccessBlock": error(Code.NO_SUCH_PUBLIC_ACCESS_BLOCK),
    "PreflightObjectRequest": error(Code.ACCESS_FORBIDDEN),
    "PreflightRequest": error(Code.ACCESS_FORBIDDEN),
}
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
#: The operations whose answer names the owner.
_ACL: Final = frozenset({"GetBucketAcl", "GetObjectAcl"})


def unconfigured(operation: str, *, owner: str) -> Answer | Refusal:
    """The answer for an operation of the disposition `UNCONFIGURED`; `owner` is the opaque virtual owner.

    That a workspace or an object exists at all, and may be read, is for the caller to see to first.
    """
    if operation in _ACL:
        return _private(owner)
    document = _DOCUMENTS.get(operation)
    return document if document is not None else _ERRORS[operation]


def _private(owner: str) -> Answer:
    identity = element("ID", owner) + element("DisplayName", owner)
    grantee = (
        f'<Grantee xmlns:xsi="{_XSI}" xsi:type="CanonicalUser">{identity}<Type>CanonicalUser</Type></Grantee>'
    )
    return _empty(
        "AccessControlPolicy",
        f"<Owner>{identity}</Owner><AccessControlList><Grant>{grantee}"
        "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList>",
    )
