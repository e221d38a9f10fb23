from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.s3.names import BucketName, split_bucket, user_problem, workspace_problem


@pytest.mark.parametrize(
    ("bucket", "found"),
    [
        ("photos", BucketName(None, "photos")),
        ("jane-doe.photos", BucketName("jane-doe", "photos")),
        ("a.b", None),
        ("jane.doe.photos", None),
        ("Photos", None),
        ("-photos", None),
        ("photos-", None),
        ("jane.-photos", None),
        ("", None),
        (".photos", None),
        ("jane.", None),
        ("pho_tos", None),
        ("x" * 63, BucketName(None, "x" * 63)),
        ("x" * 64, None),
        ("u" * 30 + "." + "w" * 32, BucketName("u" * 30, "w" * 32)),
        ("u" * 30 + "." + "w" * 33, None),
        ("u" * 31 + ".www", None),
        ("probe-bsign-abc123", BucketName(None, "probe-bsign-abc123")),
        ("photos\n", None),
        ("phötos", None),
    ],
)
def test_a_bucket_is_a_workspace_or_no_name_at_all(bucket: str, found: BucketName | None) -> None:
    assert split_bucket(bucket) == found


@pytest.mark.parametrize(
    "name",
    ["minio", "probe-bsign-x1", "probe-bucket-sign-2", "xn--a1", "abc--x-s3", "abc-s3alias", "sthree-a"],
)
def test_reserved_names_say_why(name: str) -> None:
    problem = workspace_problem(name)
    assert problem is not None
    assert "reserved" in problem


def test_the_two_parts_of_a_bucket_name_share_63_characters() -> None:
    assert workspace_problem("w" * 40, "jane") is None
    assert "jane." in (workspace_problem("w" * 60, "jane") or "")


@pytest.mark.parametrize(
    "handle", ["everyone", "ab", "x" * 31, "Jane", "jane.doe", "minio", "xn--jane", "jane-"]
)
def test_handles_that_cannot_be(handle: str) -> None:
    assert user_problem(handle)


def test_handles_that_can() -> None:
    assert user_problem("jane-doe2") is None


@given(st.text(max_size=80))
def test_what_names_a_bucket_is_a_dns_name(text: str) -> None:
    found = split_bucket(text)
    if found is not None:
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
        assert 3 <= len(text) <= 63
        assert text == (f"{found.owner}.{found.workspace}" if found.owner else found.workspace)
