"""A signer signs as `sign` does, whatever it remembers from the request before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import sigv4

DATES = ["20261124T101010Z", "20261124T101011Z", "20261125T000000Z"]
PAYLOADS = [sigv4.EMPTY_SHA256, sigv4.UNSIGNED_PAYLOAD, "0" * 64]
SIGNER = sigv4.Signer(b"node.test:9000", access_key_id="AKID", secret="secret", region="eu-west-1")

REQUESTS = st.tuples(
    st.sampled_from([b"GET", b"HEAD", b"PUT"]),
    st.sampled_from([b"/b/k", b"/b/a%20b", b"/b/a(1)", b"/b"]),
    st.sampled_from([b"", b"versionId=1", b"list-type=2&prefix=a%2Fb"]),
    st.sampled_from([(), ((b"range", b"bytes=0-1"),), ((b"x-amz-checksum-mode", b"ENABLED"),)]),
    st.sampled_from(DATES),
    st.sampled_from(PAYLOADS),
)


@given(st.lists(REQUESTS, min_size=1, max_size=4))
def test_what_it_remembers_changes_nothing(
    requests: list[tuple[bytes, bytes, bytes, tuple, str, str]],
) -> None:
    for method, path, query, headers, amz_date, payload in requests:
        given_headers = [(b"host", b"node.test:9000"), *headers]
        expected = given_headers + sigv4.sign(
            method,
            path,
            query,
            given_headers,
            access_key_id="AKID",
            secret="secret",
            amz_date=amz_date,
            region="eu-west-1",
            payload_sha256=payload,
        )
        signed = SIGNER.sign(method, path, query, headers, amz_date=amz_date, payload_sha256=payload)
        assert sorted(signed) == sorted(expected)


def test_its_secret_is_not_shown() -> None:
    assert "secret" not in repr(SIGNER)
