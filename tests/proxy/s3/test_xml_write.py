from __future__ import annotations

from typing import Any

from lxml import etree

from proxy.s3 import xml_write
from proxy.s3.errors import Code, error
from proxy.s3.xml_write import Deleted, ListedPart

NS = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}


def find(body: bytes, path: str) -> list[str]:
    found: Any = etree.fromstring(body).xpath(path, namespaces=NS)
    return [node.text or "" for node in found]


def test_times_are_written_as_s3_does() -> None:
    assert xml_write.timestamp(1255369830.0) == "2009-10-12T17:50:30.000Z"
    assert xml_write.timestamp(1255369830.25) == "2009-10-12T17:50:30.250Z"


def test_buckets() -> None:
    body = xml_write.list_buckets([("photos", 0.0), ("jane.photos", 1.5)], owner="o", owner_name="Jane <J>")
    assert find(body, "//s3:Bucket/s3:Name") == ["photos", "jane.photos"]
    assert find(body, "//s3:CreationDate") == ["1970-01-01T00:00:00.000Z", "1970-01-01T00:00:01.500Z"]
    assert find(body, "/s3:ListAllMyBucketsResult/s3:Owner/s3:DisplayName") == ["Jane <J>"]


def test_a_page_of_buckets() -> None:
    body = xml_write.list_buckets(
        [("photos", 0.0)], owner="o", owner_name="n", region="eu-1", prefix="p", next_token="t"
    )
    assert find(body, "//s3:BucketRegion") == ["eu-1"]
    assert find(body, "/s3:ListAllMyBucketsResult/s3:ContinuationToken") == ["t"]
    assert find(body, "/s3:ListAllMyBucketsResult/s3:Prefix") == ["p"]


def test_locations() -> None:
    assert find(xml_write.location("us-east-1"), "/s3:LocationConstraint") == [""]
    assert find(xml_write.location("eu-1"), "/s3:LocationConstraint") == ["eu-1"]


def test_an_upload() -> None:
    body = xml_write.initiate_multipart("photos", "a&b", "1.x")
    assert find(body, "//s3:Bucket|//s3:Key|//s3:UploadId") == ["photos", "a&b", "1.x"]
    body = xml_write.complete_multipart(
        "photos", "k", '"e-2"', "https://gate/photos/k", [("ChecksumCRC32", "AA==")]
    )
    assert find(body, "/s3:CompleteMultipartUploadResult/*") == [
        "https://gate/photos/k",
        "photos",
        "k",
        '"e-2"',
        "AA==",
    ]


def test_copies() -> None:
    assert find(xml_write.copy_object('"e"', "then"), "/s3:CopyObjectResult/*") == ["then", '"e"']
    assert find(xml_write.copy_object('"e"', "then", part=True), "/s3:CopyPartResult/*") == ["then", '"e"']


def test_deletions() -> None:
    deleted = [Deleted("a"), Deleted("b", "v", True, "m")]
    errors = [("c", "v2", error(Code.ACCESS_DENIED))]
    body = xml_write.delete_result(deleted, errors)
    assert find(body, "//s3:Deleted/s3:Key") == ["a", "b"]
    assert find(body, "//s3:DeleteMarkerVersionId") == ["m"]
    assert find(body, "//s3:Error/*") == ["c", "v2", "AccessDenied", "Access Denied."]
    quiet = xml_write.delete_result(deleted, errors, quiet=True)
    assert find(quiet, "//s3:Deleted") == []
    assert len(find(quiet, "//s3:Error")) == 1


def test_a_form() -> None:
    assert find(xml_write.post_response("b", "k", "e", "w"), "/s3:PostResponse/*") == ["w", "b", "k", "e"]


def test_parts() -> None:
    body = xml_write.list_parts(
        "photos",
        "a b",
        "id",
        [ListedPart(1, '"e"', 5, "then", (("ChecksumCRC32", "AA=="),))],
        owner="o",
        next_marker=1,
        truncated=True,
        url=True,
    )
    assert find(body, "//s3:Key") == ["a+b"]
    assert find(body, "//s3:Part/*") == ["1", "then", '"e"', "5", "AA=="]
    assert find(body, "//s3:IsTruncated|//s3:NextPartNumberMarker") == ["1", "true"]
