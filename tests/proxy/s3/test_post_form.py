"""Forms, in whatever pieces they come: fields, file and length as sent, or one refusal."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.s3.errors import S3Error
from proxy.s3.post_form import (
    MAX_HEAD_BYTES,
    FileBody,
    FormError,
    FormHead,
    boundary_of,
    form_object,
    redirect_target,
)

MALFORMED = "MalformedPOSTRequest"
BOUNDARY = b"----b0undary"


def encoded(fields: list[tuple[str, str]], file: bytes, filename: str = "f.txt") -> bytes:
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (BOUNDARY, name.encode(), value.encode())
        for name, value in fields
    ]
    head = b'--%s\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n' % (
        BOUNDARY,
        filename.encode(),
    )
    return (
        b"".join(parts) + head + b"Content-Type: text/plain\r\n\r\n" + file + b"\r\n--" + BOUNDARY + b"--\r\n"
    )


def read(body: bytes, cuts: list[int], announced: int | None = None) -> tuple[FormHead, int, bytes]:
    """Read a body that comes in pieces cut at `cuts`."""
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[a:b] for a, b in pairwise(places)]
    head, first = FormHead(BOUNDARY), None
    while first is None:
        if not pieces:
            raise FormError(S3Error("Ended", 400, ""))
        first = head.feed(pieces.pop(0))
    length = (len(body) if announced is None else announced) - head.size - len(head.closing)
    if length < 0:
        raise FormError(S3Error("Short", 400, ""))
    file = FileBody(head, length)
    out = []
    for piece in [first, *pieces]:
        out += list(file.feed(piece))
        assert len(b"".join(out)) < length or not length, "the last piece waits for the closing boundary"
    return head, length, b"".join(out) + file.end()


TEXT = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters='\r\n"\\;'), min_size=1, max_size=8
)


@given(
    st.lists(st.tuples(TEXT, TEXT).filter(lambda pair: pair[0].lower() != "file"), max_size=4),
    st.one_of(
        st.binary(max_size=300), st.sampled_from([b"\r\n", b"\r\n--", b"\r\n------b0undar", b"--", b"-" * 50])
    ),
    st.lists(st.integers(0, 2000), max_size=12),
)
def test_what_was_sent_is_read(fields: list[tuple[str, str]], file: bytes, cuts: list[int]) -> None:
    head, length, found = read(encoded(fields, file), cuts)
    assert (head.fields, head.filename, length, found) == (fields, "f.txt", len(file), file)


@given(st.binary(max_size=400), st.lists(st.integers(0, 2000), max_size=8))
def test_arbitrary_bytes_are_refused_or_read(body: bytes, cuts: list[int]) -> None:
    with pytest.raises(FormError):
        read(body, cuts)


@given(st.lists(st.integers(0, 2000), max_size=12), st.booleans())
def test_the_file_comes_last(cuts: list[int], early: bool) -> None:
    body = encoded([("key", "k")], b"" if early else b"content")
    after = b'\r\n--%s\r\nContent-Disposition: form-data; name="submit"\r\n\r\ngo' % BOUNDARY
    at = body.rindex(b"\r\n--" + BOUNDARY)
    with pytest.raises(FormError) as failure:
        read(body[:at] + after + body[at:], cuts)
    assert failure.value.refusal.code == "MalformedPOSTRequest"


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_form_cut_short_is_refused(cut: int) -> None:
    body = encoded([("key", "k")], b"0123456789")
    with pytest.raises(FormError):
        read(body[:-cut], [10, 50], announced=len(body))
    with pytest.raises(FormError):
        read(body[:-cut], [10, 50])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"x" * 100, "MalformedPOSTRequest"),
        (b'--%s\r\nContent-Type: x\r\n\r\nv\r\n--%s--\r\n' % (BOUNDARY, BOUNDARY), "MalformedPOSTRequest"),
        (
            b'--%s\r\nContent-Disposition: form-data; name="a"\r\n\r\nv\r\n--%s--\r\n' % (BOUNDARY, BOUNDARY),
            "InvalidArgument",
        ),
        (b'--%s\r\nContent-Disposition: form-data; name="a"\r\n\r\n%s' % (BOUNDARY, b"x" * MAX_HEAD_BYTES), MALFORMED),
        (b'--%s\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nv\r\n--%s' % (BOUNDARY, BOUNDARY), MALFORMED),
    ],
)  # fmt: skip
def test_malformed_forms(body: bytes, code: str) -> None:
    with pytest.raises(FormError) as failure:
        read(body, [7])
    assert failure.value.refusal.code == code


def test_boundaries() -> None:
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
    assert boundary_of("multipart/form-data;charset=x; BOUNDARY=abc") == b"abc"
    for bad in (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 71,
    ):
        with pytest.raises(FormError):
            boundary_of(bad)


def test_fields_become_the_object() -> None:
    fields = {
        "key": "up/${filename}",
        "acl": "private",
        "content-type": "text/plain",
        "x-amz-meta-who": "ü",
        "x-amz-date": "20260101T000000Z",
        "x-amz-signature": "s",
        "policy": "p",
        "tagging": "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag></TagSet></Tagging>",
        "success_action_status": "201",
        "success_action_redirect": "javascript:alert(1)",
    }
    found = form_object(fields, "C:\\photos\\cat.jpg")
    assert not isinstance(found, S3Error)
    assert (found.key, found.status, found.redirect) == ("up/cat.jpg", 201, None)
    assert dict(found.headers) == {
        b"x-amz-acl": b"private",
        b"content-type": b"text/plain",
        b"x-amz-meta-who": "ü".encode(),
        b"x-amz-tagging": b"a+b=1%262",
    }
    for bad in ({"key": ""}, {"key": "k", "content-type": "a\r\nx: y"}, {"key": "k", "tagging": "<x/>"}):
        assert isinstance(form_object(bad, "f"), S3Error)
    sent = form_object({"key": "k", "success_action_redirect": "https://example.org/done?a=1#x"}, "f")
    assert not isinstance(sent, S3Error)
    assert sent.redirect is not None
    assert redirect_target(sent.redirect, "b", "k &", '"e"') == (
        b"https://example.org/done?a=1&bucket=b&key=k%20%26&etag=%22e%22#x"
    )
