"""`wio why` takes S3 operations by name, and must judge them as the proxy does: two planes that share no code here."""

from __future__ import annotations

import pytest

from broker.why import adds, permission_for
from proxy.operations import _HANDLED
from proxy.s3.operation_table import BY_NAME

#: Decided by the service and not by a permission on a bucket.
_SERVICE = {"ListBuckets", "CreateBucket"}


@pytest.mark.parametrize("name", sorted(set(_HANDLED) - _SERVICE))
def test_each_operation_needs_what_the_proxy_asks_for(name: str) -> None:
    permission = BY_NAME[name].permission
    assert permission is not None
    assert permission_for(name) == int(permission)
    assert permission_for(f"s3:{name}") == int(permission)


@pytest.mark.parametrize(
    "action", ["delete", "share", "read", "list", "DeleteObject", "AbortMultipartUpload", "GetObject"]
)
def test_what_adds_nothing_needs_no_room(action: str) -> None:
    assert not adds(action)


@pytest.mark.parametrize(
    "action", ["write", "PutObject", "s3:CopyObject", "UploadPart", "CompleteMultipartUpload"]
)
def test_what_adds_needs_room(action: str) -> None:
    assert adds(action)
