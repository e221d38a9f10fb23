from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.s3.errors import S3Error
from proxy.s3.upload_ids import AAD, MAX_ID, UploadId, make_upload_id, read_upload_id
from quota.sealing import Sealer, SealError

SEALER = Sealer("s" * 32)
UPLOAD = UploadId("w" * 16, "a b/é", "n" * 16, "bm9kZSdzIG93bg==", "u" * 16)


def seal(content: bytes) -> str:
    return SEALER.seal(content, AAD)


def opener(sealer: Sealer = SEALER, aad: bytes = AAD) -> Callable[[str], bytes | None]:
    def open_sealed(text: str) -> bytes | None:
        try:
            return sealer.open(text, aad)
        except SealError:
            return None

    return open_sealed


def test_an_id_comes_back() -> None:
    text = make_upload_id(UPLOAD, seal)
    assert read_upload_id(text, UPLOAD.key, opener()) == UPLOAD
    assert text.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert UPLOAD.node_upload_id not in text


def test_a_seal_that_is_not_url_safe_is_made_so() -> None:
    text = make_upload_id(UPLOAD, lambda content: "a/b+c==" + content.hex())
    assert "/" not in text
    opened = read_upload_id(text, UPLOAD.key, lambda sealed: bytes.fromhex(sealed.removeprefix("a/b+c==")))
    assert opened == UPLOAD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1.",
        "2.",
        "2.!",
        "2.____",
        "MTYzMmYxZjctMzY2Mi00ZDVkLWExN2UtYmUzMjhiMzM1NDM2",
        "1." + "A" * MAX_ID,
        make_upload_id(UPLOAD, seal) + "A",
        "1." + SEALER.seal(b"[]", AAD),
        "1." + SEALER.seal(b'["a",1,"c","d","e"]', AAD),
        "1." + SEALER.seal(b"\xff", AAD),
        "1." + SEALER.seal(b'["w","a b/\\u00e9","n","x","u"]', b"token"),
    ],
)
def test_an_id_from_elsewhere_is_no_such_upload(text: str) -> None:
    found = read_upload_id(text, UPLOAD.key, opener())
    assert isinstance(found, S3Error)
    assert (found.code, found.status) == ("NoSuchUpload", 404)


def test_an_id_of_another_key_or_deployment_is_no_such_upload() -> None:
    text = make_upload_id(UPLOAD, seal)
    assert isinstance(read_upload_id(text, "another", opener()), S3Error)
    assert isinstance(read_upload_id(text, UPLOAD.key, opener(Sealer("t" * 32))), S3Error)


@given(st.text(max_size=100))
def test_any_text_is_an_id_or_a_refusal(text: str) -> None:
    assert isinstance(read_upload_id(text, "k", opener()), S3Error)


@given(
    st.text(st.characters(codec="utf-8"), max_size=100), st.text(st.characters(codec="utf-8"), max_size=100)
)
def test_any_key_and_id_come_back(key: str, node_id: str) -> None:
    upload = UploadId("w", key, "n", node_id, "u")
    assert read_upload_id(make_upload_id(upload, seal), key, opener()) == upload
