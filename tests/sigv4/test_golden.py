"""Each stage against vectors on disk: the canonical request, the string to sign, the signature."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import sigv4
from tests.sigv4 import make_vectors, published

VECTORS = Path(__file__).with_name("vectors")
AWS = json.loads((VECTORS / "aws.json").read_text())
BOTOCORE = json.loads((VECTORS / "botocore.json").read_text())


def parse(vector: dict[str, Any], **changes: Any) -> sigv4.Presented:
    v = {**vector, **changes}
    return sigv4.parse(
        v["method"],
        v["path"].encode(),
        v["query"].encode(),
        [(name.encode(), value.encode()) for name, value in v["headers"]],
        now=v["now"],
        region=v.get("region", "us-east-1"),
        service=v["service"],
    )


def name(vector: dict[str, Any]) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", AWS, ids=name)
def test_published_examples_hold_at_each_stage(vector: dict[str, Any]) -> None:
    presented = parse(vector)
    canonical = presented.canonical_request(vector.get("body_sha256"))
    assert hashlib.sha256(canonical).hexdigest() == vector["canonical_sha256"]
    assert presented.string_to_sign(canonical).decode().endswith(vector["canonical_sha256"])
    context = presented.verify(vector["secret"], body_sha256=vector.get("body_sha256"))
    assert context.seed_signature == vector["signature"]


@pytest.mark.parametrize("vector", BOTOCORE, ids=name)
def test_botocore_vectors_hold_at_each_stage(vector: dict[str, Any]) -> None:
    presented = parse(vector)
    canonical = presented.canonical_request(vector["body_sha256"])
    assert canonical.decode() == vector["canonical_request"]
    assert presented.string_to_sign(canonical).decode() == vector["string_to_sign"]
    context = presented.verify(vector["secret"], body_sha256=vector["body_sha256"])
    assert context.seed_signature == vector["signature"]
    assert presented.session_token == vector["token"]
    assert presented.access_key_id == "AKIAIOSFODNN7EXAMPLE"


@pytest.mark.parametrize("vector", AWS + BOTOCORE, ids=name)
def test_another_secret_is_refused_and_nothing_secret_is_told(vector: dict[str, Any]) -> None:
    with pytest.raises(sigv4.SignatureDoesNotMatch) as caught:
        parse(vector).verify("another", body_sha256=vector.get("body_sha256"))
    told = f"{caught.value!r} {caught.value} {caught.value.details}"
    assert vector["signature"] not in told
    assert vector["secret"] not in told
    assert caught.value.details["CanonicalRequest"].startswith(vector["method"] + "\n")


def test_the_files_on_disk_are_what_the_makers_make_now() -> None:
    assert published.vectors() == AWS
    assert make_vectors.vectors() == BOTOCORE


@pytest.mark.parametrize(
    "vector", [v for v in BOTOCORE if v["name"].endswith(("-s3", "-s3-token"))], ids=name
)
def test_sign_makes_what_botocore_made(vector: dict[str, Any]) -> None:
    added = {"x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "authorization"}
    given = dict(vector["headers"])
    made = sigv4.sign(
        vector["method"],
        vector["path"].encode(),
        vector["query"].encode(),
        [(key.encode(), value.encode()) for key, value in vector["headers"] if key not in added],
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret=vector["secret"],
        session_token=vector["token"],
        amz_date=given["x-amz-date"],
        region=vector["region"],
        payload_sha256=given["x-amz-content-sha256"],
    )
    assert {key.decode(): value.decode() for key, value in made} == {k: given[k] for k in added if k in given}


@pytest.mark.parametrize("vector", [v for v in BOTOCORE if "presigned" in v["name"]], ids=name)
def test_presign_makes_what_botocore_made(vector: dict[str, Any]) -> None:
    own = [pair for pair in vector["query"].split("&") if pair and not pair.startswith("X-Amz-")]
    query = sigv4.presign(
        vector["method"],
        vector["path"].encode(),
        "&".join(own).encode(),
        [(key.encode(), value.encode()) for key, value in vector["headers"]],
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret=vector["secret"],
        session_token=vector["token"],
        amz_date="20260301T123456Z",
        expires=3600,
        region=vector["region"],
    )
    assert query.endswith(vector["signature"].encode())
    parse(vector, query=query.decode()).verify(vector["secret"])
