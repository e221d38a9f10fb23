from __future__ import annotations

import base64
import contextlib
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from proxy.s3 import listing as module
from proxy.s3.errors import BadNodeAnswer, S3Error
from proxy.s3.listing import Kind, Listing, parse_listing, rewrite_listing
from proxy.s3.target import Query, parse_query
from proxy.s3.url_names import url_decode, url_encode, xml_name
from tests.proxy.s3.recorded import KEYS, NODE_WORDS, PREFIX, answer

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
#: Keys that XML 1.0 cannot carry are written as MinIO writes them, which no strict parser takes.
UNPARSABLE = "ctl-\x01\x1f.txt"


def seal(token: bytes) -> str:
    return "sealed-" + base64.urlsafe_b64encode(token[::-1]).decode().rstrip("=")


def unseal(text: str) -> bytes | None:
    if not text.startswith("sealed-"):
        return None
    raw = text.removeprefix("sealed-")
    return base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))[::-1]


def rewritten(listing: Listing, body: bytes, prefix: str = PREFIX) -> bytes:
    return rewrite_listing(listing, prefix, body, owner="owner-id", seal_token=seal)


def by_tree(listing: Listing, body: bytes, prefix: str = PREFIX) -> bytes:
    page = module._by_tree(listing, prefix, body, module.owner_element("owner-id"))
    return module._assemble(listing, prefix, page, seal)


def keys_of(body: bytes, *, url: bool) -> list[str]:
    root = etree.fromstring(body)
    found = [
        node.text or "" for tag in ("Contents", "Version") for node in root.iterfind(f"{NS}{tag}/{NS}Key")
    ]
    return [unquote_plus(key) for key in found] if url else found


def query(raw: str) -> Query:
    found = parse_query(raw.encode())
    assert isinstance(found, Query)
    return found


def parsed(operation: str, raw: str) -> Listing:
    found = parse_listing(operation, "photos", query(raw))
    assert isinstance(found, Listing), found
    return found


def asked(listing: Listing, prefix: str = PREFIX) -> dict[str, str]:
    found = listing.node_query(prefix, unseal)
    assert isinstance(found, bytes), found
    return dict(query(found.decode()).meant)


@pytest.mark.parametrize(
    ("operation", "raw", "expected"),
    [
        ("ListObjects", "", {"prefix": PREFIX, "max-keys": "1000"}),
        (
            "ListObjects",
            "prefix=a%2F&marker=a%2Fb&max-keys=5",
            {"prefix": PREFIX + "a/", "marker": PREFIX + "a/b"},
        ),
        ("ListObjects", "max-keys=100000", {"max-keys": "1000"}),
        ("ListObjects", "max-keys=0", {"max-keys": "0"}),
        ("ListObjects", "marker=a[minio_cache:v2,id:x,return:]", {"marker": PREFIX + "a"}),
        ("ListObjects", "delimiter=%2F", {"delimiter": "/"}),
        (
            "ListObjectsV2",
            "list-type=2&start-after=k&fetch-owner=true&metadata=true",
            {"list-type": "2", "start-after": PREFIX + "k", "fetch-owner": "true", "metadata": "true"},
        ),
        (
            "ListObjectVersions",
            "versions&key-marker=k&version-id-marker=v",
            {"versions": "", "key-marker": PREFIX + "k", "version-id-marker": "v"},
        ),
        # What is called as the prefix itself has no name here, and would be all that is on these pages.
        ("ListObjects", "max-keys=1", {"marker": PREFIX}),
        ("ListObjectsV2", "list-type=2&max-keys=1", {"start-after": PREFIX}),
        ("ListObjectVersions", "versions&version-id-marker=v", {"key-marker": PREFIX}),
        ("ListObjects", "max-keys=1&prefix=a", {"marker": None}),
        ("ListObjects", "max-keys=2", {"marker": None}),
    ],
)
def test_the_node_is_asked_below_the_prefix(
    operation: str, raw: str, expected: dict[str, str | None]
) -> None:
    found = asked(parsed(operation, raw))
    assert {name: found.get(name) for name in expected} == expected
    assert found["encoding-type"] == "url"
    assert found["prefix"].startswith(PREFIX)
    assert all(value.startswith(PREFIX) for name, value in found.items() if name in ("marker", "key-marker"))


def test_a_continuation_token_is_sealed_and_comes_back() -> None:
    token = seal(b"cm9vdHMv+=[minio_cache:v2]")
    assert (
        asked(Listing(Kind.V2, "photos", token=token))["continuation-token"] == "cm9vdHMv+=[minio_cache:v2]"
    )


@pytest.mark.parametrize("token", ["cm9vdHMvb3RoZXIv", "x"])
def test_a_token_from_elsewhere_is_refused(token: str) -> None:
    found = Listing(Kind.V2, "photos", token=token).node_query(PREFIX, unseal)
    assert isinstance(found, S3Error)
    assert found.code == "InvalidArgument"


@pytest.mark.parametrize(
    "raw",
    [
        "max-keys=x",
        "max-keys=-1",
        "max-keys=%D9%A3",
        "encoding-type=base64",
        "continuation-token=&list-type=2",
        "prefix=..%2Fother%2F",
        "prefix=a%2F..%2Fb",
    ],
)
def test_listings_that_are_refused(raw: str) -> None:
    assert isinstance(parse_listing("ListObjectsV2", "photos", query(raw)), S3Error)


def test_a_prefix_too_long_for_the_workspace_is_refused() -> None:
    found = Listing(Kind.V1, "photos", prefix="p" * 1000).node_query(PREFIX, unseal)
    assert isinstance(found, S3Error)
    assert found.code == "KeyTooLongError"


CASES = [
    ("list-v1", Kind.V1),
    ("list-v2", Kind.V2),
    ("list-v2-metadata", Kind.V2),
    ("list-versions", Kind.VERSIONS),
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_key_comes_through_url_encoded(name: str, kind: Kind) -> None:
    body = rewritten(Listing(kind, "photos", url=True), answer(name))
    assert sorted(keys_of(body, url=True)) == sorted(KEYS)
    assert b"<EncodingType>url</EncodingType>" in body
    assert b"<Name>photos</Name>" in body


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_key_comes_through_plain(name: str, kind: Kind) -> None:
    body = rewritten(Listing(kind, "photos"), answer(name))
    assert b"EncodingType" not in body
    # MinIO's own way with what XML cannot carry: a forbidden reference, and U+FFFD.
    assert "<Key>ctl-&#x1;\ufffd.txt</Key>".encode() in body
    readable = body.replace(b"&#x1;", b"")
    assert sorted(keys_of(readable, url=False)) == sorted([*set(KEYS) - {UNPARSABLE}, "ctl-\ufffd.txt"])


@pytest.mark.parametrize("url", [True, False])
@pytest.mark.parametrize(
    ("name", "kind"),
    [*CASES, ("list-v1-page", Kind.V1), ("list-v2-page", Kind.V2), ("list-versions-page", Kind.VERSIONS)],
)
def test_nothing_of_the_node_is_left(name: str, kind: Kind, url: bool) -> None:
    body = rewritten(Listing(kind, "photos", url=url), answer(name)).decode()
    assert not [word for word in NODE_WORDS if word in body]
    assert "<Internal>" not in body
    if "<Owner>" in body:
        assert "<Owner><ID>owner-id</ID>" in body


@pytest.mark.parametrize("url", [True, False])
@pytest.mark.parametrize(
    ("name", "kind"),
    [*CASES, ("list-v1-page", Kind.V1), ("list-v2-page", Kind.V2), ("list-versions-page", Kind.VERSIONS)],
)
def test_the_grammar_reads_what_the_tree_reads(name: str, kind: Kind, url: bool) -> None:
    listing = Listing(kind, "photos", url=url, delimiter="/")
    body = answer(name)
    assert module._by_grammar(listing, PREFIX, body.decode(), "<Owner/>") is not None
    assert rewritten(listing, body) == by_tree(listing, body)


def test_a_page_of_v1_goes_on_by_its_virtual_marker() -> None:
    body = rewritten(Listing(Kind.V1, "photos", delimiter="/", max_keys=2, url=True), answer("list-v1-page"))
    root = etree.fromstring(body)
    assert root.findtext(f"{NS}IsTruncated") == "true"
    marker = root.findtext(f"{NS}NextMarker")
    assert marker
    assert "minio_cache" not in marker
    assert unquote_plus(marker) in {*KEYS, "a b/"}


def test_a_page_of_v2_goes_on_by_a_sealed_token() -> None:
    listing = Listing(Kind.V2, "photos", delimiter="/", max_keys=3, marker="a")
    root = etree.fromstring(rewritten(listing, answer("list-v2-page")).replace(b"&#x1;", b""))
    token = root.findtext(f"{NS}NextContinuationToken")
    assert token
    opened = unseal(token)
    assert opened is not None
    assert base64.b64decode(opened).decode().startswith(PREFIX)
    assert root.findtext(f"{NS}StartAfter") == "a"
    assert root.findtext(f"{NS}KeyCount") == "3"
    assert root.findtext(f"{NS}MaxKeys") == "3"
    assert root.findtext(f"{NS}Delimiter") == "/"
    assert [node.text for node in root.iterfind(f"{NS}CommonPrefixes/{NS}Prefix")] == ["a b/"]


def test_the_token_that_was_sent_is_given_back() -> None:
    token = seal(b"x")
    body = rewritten(Listing(Kind.V2, "photos", token=token), answer("list-v2"))
    assert f"<ContinuationToken>{token}</ContinuationToken>".encode() in body


def test_an_empty_listing() -> None:
    body = rewritten(Listing(Kind.V2, "photos", prefix="none"), answer("list-v2-empty"))
    root = etree.fromstring(body)
    assert root.findtext(f"{NS}KeyCount") == "0"
    assert root.findtext(f"{NS}Prefix") == "none"
    assert root.findtext(f"{NS}IsTruncated") == "false"


def test_metadata_stays_and_erasure_coding_goes() -> None:
    body = rewritten(Listing(Kind.V2, "photos", url=True), answer("list-v2-metadata"))
    assert b"<UserMetadata><content-type>binary/octet-stream</content-type></UserMetadata>" in body
    assert b"<K>" not in body


def page(*items: str, encoding: bool = True, root: str = "ListBucketResult", extra: str = "") -> bytes:
    tail = "<EncodingType>url</EncodingType>" if encoding else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>bkt</Name><IsTruncated>false</IsTruncated>{extra}{''.join(items)}{tail}</{root}>"
    ).encode()


def item(key: str, rest: str = "<Size>1</Size>") -> str:
    return f"<Contents><Key>{key}</Key>{rest}</Contents>"


def test_a_marker_object_of_the_workspace_itself_is_left_out() -> None:
    body = rewritten(Listing(Kind.V2, "photos"), page(item(PREFIX), item(PREFIX + "a")))
    assert keys_of(body, url=False) == ["a"]
    assert b"<KeyCount>1</KeyCount>" in body


@pytest.mark.parametrize(
    "body",
    [
        page(item("roots/other/a")),
        page(item(PREFIX + "a"), item("roots/jane/photos.abcdefghij234568/a")),
        page(item("")),
        page("<Contents><Size>1</Size></Contents>"),
        page(f"<CommonPrefixes><Prefix>{PREFIX[:-1]}</Prefix></CommonPrefixes>"),
        page(item(PREFIX + "%FF", "<X/>")),
        page(item(PREFIX + "a"))[:-5],
        page(root="ListAllMyBucketsResult"),
        b"",
        b"<html>busy</html>",
        b"\xff\xfe",
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + page(item(PREFIX + "a")).partition(b"\n")[2],
        page(item(PREFIX + "&a;")),
        page("<a>" * 20 + "</a>" * 20),
    ],
)
def test_what_is_no_page_of_the_workspace_is_a_malfunction(body: bytes) -> None:
    with pytest.raises(BadNodeAnswer):
        rewritten(Listing(Kind.V1, "photos"), body)


@pytest.mark.parametrize(
    "written",
    [
        page(item(PREFIX + "a+b%26")).replace(b"<Key>", b"<Key >"),
        page(item(PREFIX + "a+b%26")).replace(b"<Contents>", b"<!-- x --><Contents>"),
        page(item("<![CDATA[" + PREFIX + "a+b%26]]>")),
        page(item(url_encode(PREFIX).replace("/", "%2F") + "a+b%26")),
        page(item(PREFIX + "a b&amp;"), encoding=False),
        page(item(PREFIX + "a+b%26", "<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>")),
        page(item(PREFIX + "a+b%26")).replace(b"ListBucketResult xmlns=", b"ListBucketResult xmlns:a='b' xmlns="),
        page(item(PREFIX + "a+b%26")).replace(b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b""),
        page(item(PREFIX + "a+b%26")).replace(b"<", b"<s:").replace(b"<s:/", b"</s:").replace(b"<s:?", b"<?")
        .replace(b"xmlns=", b"xmlns:s="),
    ],
)  # fmt: skip
def test_other_nodes_write_it_otherwise(written: bytes) -> None:
    assert keys_of(rewritten(Listing(Kind.V1, "photos"), written), url=False) == ["a b&"]
    assert keys_of(rewritten(Listing(Kind.V1, "photos", url=True), written), url=True) == ["a b&"]


@pytest.mark.parametrize(("name", "kind"), [("v1", Kind.V1), ("versions", Kind.VERSIONS)])
def test_versitygw_ignores_the_encoding_and_orders_otherwise(name: str, kind: Kind) -> None:
    keys = ["a b/c+d.txt", "pct%20.txt", "z", "é&<x>.txt"]
    body, prefix = answer(f"versitygw-{name}"), "roots/jane/photos.abc/"
    assert keys_of(rewritten(Listing(kind, "photos"), body, prefix), url=False) == keys
    found = rewritten(Listing(kind, "photos", url=True), body, prefix)
    assert keys_of(found, url=True) == keys
    assert b"roots" not in found
    assert b"minioadmin" not in found


def test_versitygws_token_is_a_key_and_is_sealed() -> None:
    found = rewritten(
        Listing(Kind.V2, "photos", delimiter="/", max_keys=2),
        answer("versitygw-v2-page"),
        "roots/jane/photos.abc/",
    )
    token = etree.fromstring(found).findtext(f"{NS}NextContinuationToken")
    assert token
    assert unseal(token) == b"roots/jane/photos.abc/pct%20.txt"
    assert b"roots" not in found


def test_many_owners_become_one() -> None:
    items = [
        item(PREFIX + str(number), f"<Owner><ID>{number % 9}</ID><DisplayName>n</DisplayName></Owner>")
        for number in range(20)
    ]
    body = rewritten(Listing(Kind.V1, "photos"), page(*items)).decode()
    assert body.count("<Owner><ID>owner-id</ID><DisplayName>owner-id</DisplayName></Owner>") == 20
    assert body.count("<Owner>") == 20


def test_a_workspace_may_be_a_whole_bucket() -> None:
    assert keys_of(rewritten(Listing(Kind.V1, "photos"), page(item("a"), item("b")), ""), url=False) == [
        "a",
        "b",
    ]


KEY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
PREFIXES = st.one_of(st.just(PREFIX), st.just(""), KEY.map(lambda text: text + "/"))


@given(PREFIXES, st.lists(KEY, max_size=5), st.lists(KEY, max_size=3), st.booleans())
def test_names_round_trip(prefix: str, keys: list[str], folders: list[str], url: bool) -> None:
    """What a node lists below a prefix, a client sees as if the prefix were the root; by both ways of reading."""
    items = [item(url_encode(prefix + key)) for key in keys]
    items += [
        f"<CommonPrefixes><Prefix>{url_encode(prefix + folder)}</Prefix></CommonPrefixes>"
        for folder in folders
    ]
    body = page(*items)
    listing = Listing(Kind.V1, "photos", url=url)
    found = rewritten(listing, body, prefix)
    assert found == by_tree(listing, body, prefix)
    text = found.decode()
    for key in keys:
        assert f"<Contents><Key>{url_encode(key) if url else xml_name(key)}</Key>" in text
    if url:
        assert keys_of(found, url=True) == keys


@given(KEY)
def test_url_encoding_is_undone(name: str) -> None:
    assert url_decode(url_encode(name)) == name == unquote_plus(url_encode(name))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_page_or_a_malfunction(body: bytes) -> None:
    with contextlib.suppress(BadNodeAnswer):
        rewritten(Listing(Kind.V1, "photos"), body)


@given(st.binary(max_size=40), st.integers(0, 1500), st.integers(0, 40))
def test_a_damaged_page_never_shows_the_prefix(noise: bytes, at: int, cut: int) -> None:
    body = answer("list-v1")
    damaged = body[:at] + noise + body[at + cut :]
    try:
        found = rewritten(Listing(Kind.V1, "photos", url=True), damaged)
    except BadNodeAnswer:
        return
    assert b"roots/jane" not in found or b"roots/jane" in noise
