"""S3 errors as values: one table of codes, and the document that carries them.

Codes, statuses and sentences are S3's own
(https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html); `QuotaExceeded` is 403, because mc and
aws stop at once on it, while a 503 makes clients try again for a minute.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final


class Code(Enum):
    """Every S3 error that the gate gives by itself: (code on the wire, HTTP status, default sentence)."""

    ACCESS_DENIED = ("AccessDenied", 403, "Access Denied.")
    ACCESS_FORBIDDEN = ("AccessForbidden", 403, "CORSResponse: CORS is not enabled for this bucket.")
    AUTHORIZATION_HEADER_MALFORMED = (
        "AuthorizationHeaderMalformed",
        400,
        "The authorization header that you provided is not valid.",
    )
    AUTHORIZATION_QUERY_PARAMETERS = (
        "AuthorizationQueryParametersError",
        400,
        "The authorization query parameters that you provided are not valid.",
    )
    BAD_DIGEST = (
        "BadDigest",
        400,
        "The Content-MD5 or checksum you specified did not match what we received.",
    )
    BUCKET_ALREADY_EXISTS = ("BucketAlreadyExists", 409, "The requested bucket name is not available.")
    BUCKET_ALREADY_OWNED = (
        "BucketAlreadyOwnedByYou",
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    )
    BUCKET_NOT_EMPTY = ("BucketNotEmpty", 409, "The bucket you tried to delete is not empty.")
    CONDITIONAL_REQUEST_CONFLICT = (
        "ConditionalRequestConflict",
        409,
        "A conflicting operation occurred during this conditional request. Please try again.",
    )
    ENTITY_TOO_LARGE = ("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size.")
    ENTITY_TOO_SMALL = (
        "EntityTooSmall",
        400,
        "Your proposed upload is smaller than the minimum allowed size.",
    )
    EXPIRED_TOKEN = ("ExpiredToken", 400, "The provided token has expired.")
    INCOMPLETE_BODY = (
        "IncompleteBody",
        400,
        "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    )
    INTERNAL_ERROR = ("InternalError", 500, "We encountered an internal error. Please try again.")
    INVALID_ACCESS_KEY_ID = (
        "InvalidAccessKeyId",
        403,
        "The access key ID that you provided does not exist in our records.",
    )
    INVALID_ARGUMENT = ("InvalidArgument", 400, "Invalid argument.")
    INVALID_BUCKET_NAME = ("InvalidBucketName", 400, "The specified bucket is not valid.")
    INVALID_CHUNK_SIZE = (
        "InvalidChunkSizeError",
        403,
        "Only the last chunk is allowed to have a size less than 8192 bytes.",
    )
    INVALID_DIGEST = ("InvalidDigest", 400, "The Content-MD5 or checksum that you specified is not valid.")
    INVALID_LOCATION_CONSTRAINT = (
        "InvalidLocationConstraint",
        400,
        "The specified location constraint is not valid.",
    )
    INVALID_PART = (
        "InvalidPart",
        400,
        (
            "One or more of the specified parts could not be found. "
            "The part may not have been uploaded, or its entity tag did not match."
        ),
    )
    INVALID_PART_ORDER = (
        "InvalidPartOrder",
        400,
        "The list of parts was not in ascending order. Parts must be ordered by part number.",
    )
    INVALID_POLICY_DOCUMENT = (
        "InvalidPolicyDocument",
        400,
        "The content of the form does not meet the policy.",
    )
    INVALID_RANGE = ("InvalidRange", 416, "The requested range is not satisfiable.")
    INVALID_REQUEST = ("InvalidRequest", 400, "The request is not valid.")
    INVALID_STORAGE_CLASS = ("InvalidStorageClass", 400, "The storage class you specified is not valid.")
    INVALID_TAG = ("InvalidTag", 400, "The tag provided was not a valid tag.")
    INVALID_TOKEN = ("InvalidToken", 400, "The provided token is malformed or otherwise not valid.")
    INVALID_URI = ("InvalidURI", 400, "Couldn't parse the specified URI.")
    KEY_TOO_LONG = ("KeyTooLongError", 400, "Your key is too long.")
    MALFORMED_POST = (
        "MalformedPOSTRequest",
        400,
        "The body of your POST request is not well-formed multipart/form-data.",
    )
    MALFORMED_TRAILER = (
        "MalformedTrailerError",
        400,
        "The request contained trailing data that was not well-formed.",
    )
    MALFORMED_XML = (
        "MalformedXML",
        400,
        "The XML you provided was not well-formed or did not validate against our published schema.",
    )
    METADATA_TOO_LARGE = (
        "MetadataTooLarge",
        400,
        "Your metadata headers exceed the maximum allowed metadata size.",
    )
    METHOD_NOT_ALLOWED = (
        "MethodNotAllowed",
        405,
        "The specified method is not allowed against this resource.",
    )
    MISSING_CONTENT_LENGTH = ("MissingContentLength", 411, "You must provide the Content-Length HTTP header.")
    NO_SUCH_BUCKET = ("NoSuchBucket", 404, "The specified bucket does not exist.")
    NO_SUCH_BUCKET_POLICY = ("NoSuchBucketPolicy", 404, "The bucket policy does not exist")
    NO_SUCH_CONFIGURATION = ("NoSuchConfiguration", 404, "The specified configuration does not exist.")
    NO_SUCH_CORS = ("NoSuchCORSConfiguration", 404, "The CORS configuration does not exist")
    NO_SUCH_KEY = ("NoSuchKey", 404, "The specified key does not exist.")
    NO_SUCH_LIFECYCLE = ("NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist")
    NO_SUCH_OBJECT_LOCK = (
        "NoSuchObjectLockConfiguration",
        404,
        "The specified object does not have a ObjectLock configuration",
    )
    NO_SUCH_PUBLIC_ACCESS_BLOCK = (
        "NoSuchPublicAccessBlockConfiguration",
        404,
        "The public access block configuration was not found",
    )
    NO_SUCH_TAG_SET = ("NoSuchTagSet", 404, "The TagSet does not exist")
    NO_SUCH_UPLOAD = (
        "NoSuchUpload",
        404,
        (
            "The specified multipart upload does not exist. The upload ID may be invalid, "
            "or the upload may have been aborted or completed."
        ),
    )
    NO_SUCH_VERSION = ("NoSuchVersion", 404, "The specified version does not exist.")
    NO_SUCH_WEBSITE = (
        "NoSuchWebsiteConfiguration",
        404,
        "The specified bucket does not have a website configuration",
    )
    NOT_IMPLEMENTED = ("NotImplemented", 501, "A function that you asked for is not implemented.")
    OBJECT_LOCK_NOT_FOUND = (
        "ObjectLockConfigurationNotFoundError",
        404,
        "Object Lock configuration does not exist for this bucket",
    )
    OPERATION_ABORTED = (
        "OperationAborted",
        409,
        "A conflicting operation is currently in progress against this resource. Try again.",
    )
    OWNERSHIP_CONTROLS_NOT_FOUND = (
        "OwnershipControlsNotFoundError",
        404,
        "The bucket ownership controls were not found",
    )
    PRECONDITION_FAILED = (
        "PreconditionFailed",
        412,
        "At least one of the preconditions that you specified did not hold.",
    )
    QUOTA_EXCEEDED = ("QuotaExceeded", 403, "The quota would be exceeded.")
    REPLICATION_NOT_FOUND = (
        "ReplicationConfigurationNotFoundError",
        404,
        "The replication configuration was not found",
    )
    REQUEST_HEADER_SECTION_TOO_LARGE = (
        "RequestHeaderSectionTooLarge",
        400,
        "Your request header section exceeds the maximum allowed request header size.",
    )
    REQUEST_TIME_TOO_SKEWED = (
        "RequestTimeTooSkewed",
        403,
        "The difference between the request time and the server's time is too large.",
    )
    REQUEST_TIMEOUT = (
        "RequestTimeout",
        400,
        "Your socket connection to the server was not read from or written to within the timeout period.",
    )
    SERVICE_UNAVAILABLE = (
        "ServiceUnavailable",
        503,
        "Service is unable to handle the request. Try again later.",
    )
    SIGNATURE_DOES_NOT_MATCH = (
        "SignatureDoesNotMatch",
        403,
        "The request signature that the server calculated does not match the signature that you provided.",
    )
    SLOW_DOWN = ("SlowDown", 503, "Please reduce your request rate.")
    SSE_NOT_FOUND = (
        "ServerSideEncryptionConfigurationNotFoundError",
        404,
        "The server side encryption configuration was not found",
    )
    TOO_MANY_BUCKETS = ("TooManyBuckets", 400, "You have attempted to create more buckets than are allowed.")
    XAMZ_SHA256_MISMATCH = (
        "XAmzContentSHA256Mismatch",
        400,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )

    def __init__(self, wire: str, status: int, sentence: str) -> None:
        self.wire: Final = wire
        self.status: Final = status
        self.sentence: Final = sentence


@dataclass(frozen=True, slots=True)
class S3Error:
    """One refusal, ready to be written: a value, never raised.

    `code` S3 error code · `status` HTTP status · `message` a sentence for people · `details` further elements
    of the document, in order · `headers` further headers of the answer (lower-case names).
    """

    code: str
    status: int
    message: str
    details: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def with_details(self, details: Iterable[tuple[str, str]]) -> S3Error:
        """The same error with more elements in its document."""
        return replace(self, details=(*self.details, *details))


#: What pure code answers instead of a plan: the same value, under the name of its part.
Refusal = S3Error

_RETRY_SECONDS: Final = b"2"


def error(code: Code, message: str | None = None, /, **details: str) -> S3Error:
    """The error of the table with its own status; `details` become elements (`ArgumentName="partNumber"`).

    A 503 always carries `Retry-After`.
    """
    headers = ((b"retry-after", _RETRY_SECONDS),) if code.status == 503 else ()
    return S3Error(code.wire, code.status, message or code.sentence, tuple(details.items()), headers)


def invalid_argument(name: str, value: str, message: str) -> S3Error:
    """400 InvalidArgument that names the argument and gives back its value, as AWS does."""
    return error(Code.INVALID_ARGUMENT, message, ArgumentName=name, ArgumentValue=value[:256])


class BadNodeAnswer(Exception):
    """A storage node answered something that is not the S3 document it should be: a malfunction, no denial."""


_ESCAPED: Final = re.compile(r"[&<>\"'\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\r": "&#xD;"}


def escape(text: str) -> str:
    """`text` as XML 1.0 character data; what XML cannot carry becomes U+FFFD, so that a parser never fails."""
    return _ESCAPED.sub(lambda found: _ENTITIES.get(found[0], "\ufffd"), text)


def element(name: str, text: str) -> str:
    """One leaf element, escaped."""
    return f"<{name}>{escape(text)}</{name}>"


XML_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
XMLNS: Final = "http://s3.amazonaws.com/doc/2006-03-01/"


def render(
    failure: S3Error,
    *,
    resource: str,
    request_id: str,
    host_id: str = "",
    bucket: str | None = None,
    key: str | None = None,
    head: bool = False,
) -> bytes:
    """The error document, in UTF-8; empty for a HEAD, which has no body.

    `bucket` and `key` are the names that the client used, never those of the node. `resource` is the path of
    the request as received.
    """
    if head:
        return b""
    parts = [XML_DECLARATION, "<Error>", element("Code", failure.code), element("Message", failure.message)]
    if key:
        parts.append(element("Key", key))
    if bucket:
        parts.append(element("BucketName", bucket))
    parts.extend(element(name, value) for name, value in failure.details)
    parts.append(element("Resource", resource))
    parts.append(element("RequestId", request_id))
    parts.append(element("HostId", host_id))
    parts.append("</Error>")
    return "".join(parts).encode("utf-8")
