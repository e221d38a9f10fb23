from __future__ import annotations

import pytest
from lxml import etree

from proxy.s3.errors import S3Error
from proxy.s3.operations import OPERATIONS, Disposition
from proxy.s3.unconfigured import Answer, unconfigured
from tests.proxy.s3.recorded import STATUS, answer

UNCONFIGURED = sorted(row.name for row in OPERATIONS if row.disposition is Disposition.UNCONFIGURED)


@pytest.mark.parametrize("operation", UNCONFIGURED)
def test_every_one_has_an_answer(operation: str) -> None:
    found = unconfigured(operation, owner="o<>")
    if isinstance(found, Answer):
        assert etree.fromstring(found.body) is not None
    else:
        assert found.status == (403 if operation.startswith("Preflight") else 404)


RECORDED = {
    "fresh-accelerate": "GetBucketAccelerateConfiguration",
    "fresh-acl": "GetBucketAcl",
    "fresh-cors": "GetBucketCors",
    "fresh-encryption": "GetBucketEncryption",
    "fresh-lifecycle": "GetBucketLifecycleConfiguration",
    "fresh-logging": "GetBucketLogging",
    "fresh-notification": "GetBucketNotificationConfiguration",
    "fresh-object-acl": "GetObjectAcl",
    "fresh-object-lock": "GetObjectLockConfiguration",
    "fresh-policy": "GetBucketPolicy",
    "fresh-policyStatus": "GetBucketPolicyStatus",
    "fresh-replication": "GetBucketReplication",
    "fresh-requestPayment": "GetBucketRequestPayment",
    "fresh-tagging": "GetBucketTagging",
    "fresh-versioning": "GetBucketVersioning",
    "fresh-website": "GetBucketWebsite",
}


def test_the_recordings_are_all_used() -> None:
    assert {name for name in STATUS if name.startswith("fresh-")} == set(RECORDED)


@pytest.mark.parametrize(("name", "operation"), RECORDED.items())
def test_as_minio_answers(name: str, operation: str) -> None:
    found = unconfigured(operation, owner="o")
    assert found.status == STATUS[name]
    theirs = etree.fromstring(answer(name))
    if isinstance(found, S3Error):
        assert (found.code, found.message) == (theirs.findtext("Code"), theirs.findtext("Message"))
    else:
        mine = etree.fromstring(found.body)
        assert etree.QName(mine).localname == etree.QName(theirs).localname
