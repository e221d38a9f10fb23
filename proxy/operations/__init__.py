"""What the proxy does for each operation of S3 that it handles: steps 4 to 7, one function an operation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from proxy.call import Answer, Call
from proxy.operations import (
    buckets,
    copying,
    deleting,
    documents,
    listening,
    listing,
    multipart,
    posting,
    reading,
    writing,
)
from proxy.s3.errors import S3Error
from proxy.s3.operation_table import OPERATIONS, Disposition

Runner = Callable[[Call], Awaitable[Answer | S3Error | None]]


_HANDLED: Final[dict[str, Runner]] = {
    "AbortMultipartUpload": multipart.abort_upload,
    "CompleteMultipartUpload": multipart.complete_upload,
    "CopyObject": copying.copy_object,
    "CreateBucket": buckets.create_bucket,
    "CreateMultipartUpload": multipart.create_upload,
    "DeleteBucket": buckets.delete_bucket,
    "DeleteObject": deleting.delete_object,
    "DeleteObjectTagging": documents.delete_tags,
    "DeleteObjects": deleting.delete_objects,
    "GetBucketLocation": buckets.bucket_location,
    "GetObject": reading.read_object,
    "GetObjectAttributes": reading.read_facts,
    "GetObjectLegalHold": reading.read_facts,
    "GetObjectRetention": reading.read_facts,
    "GetObjectTagging": reading.read_facts,
    "HeadBucket": buckets.head_bucket,
    "HeadObject": reading.read_object,
    "ListBuckets": buckets.list_buckets,
    "ListMultipartUploads": multipart.list_multipart_uploads,
    "ListObjectVersions": listing.list_objects,
    "ListObjects": listing.list_objects,
    "ListObjectsV2": listing.list_objects,
    "ListParts": multipart.list_parts,
    "ListenNotification": listening.listen,
    "PostObject": posting.post_object,
    "PutObject": writing.put_object,
    "PutObjectLegalHold": documents.put_lock,
    "PutObjectRetention": documents.put_lock,
    "PutObjectTagging": documents.put_tags,
    "SelectObjectContent": documents.select,
    "UploadPart": writing.upload_part,
    "UploadPartCopy": copying.upload_part_copy,
}


def _runner(name: str, disposition: Disposition) -> Runner:
    if disposition is Disposition.UNCONFIGURED:
        return buckets.read_unconfigured
    return _HANDLED[name]


#: The runner of every operation that is not refused; what is refused never comes as far.
RUNNERS: Final[dict[str, Runner]] = {
    operation.name: _runner(operation.name, operation.disposition)
    for operation in OPERATIONS
    if operation.disposition is not Disposition.REFUSED
}
