"""What was made for one place, person or purpose is worth nothing in another."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

import sigv4
from quota import Sealer, SealError
from sigv4.keys import signing_key
from tests.proxy.gates import Gate, secret_of
from tests.security.attacks import Attacker, talk

STS = b"Action=GetCallerIdentity&Version=2011-06-15"
FORM = ("content-type", "application/x-www-form-urlencoded")


@pytest.fixture(scope="module", autouse=True)
def more(gate: Gate) -> None:
    """Bob may write to `shared`; carol too; alice has sessions, narrow and whole, a link and a disabled key."""
    gate.apply(
        [
            gate.workspace("shared"),
            gate.grant("shared", "u:bob", 2),
            gate.grant("shared", "u:carol", 1),
            gate.session("WIOSALICESESSIONSESS", "alice", "session-secret", "the-token"),
            gate.session("WIOSALICEOTHEROTHERO", "alice", "session-secret", "other-token"),
            gate.session("WIOSEXPIREDEXPIREDEX", "alice", "session-secret", "the-token", expires=1),
            gate.key("WIOADISABLEDDISABLED", "alice", "a-secret", enabled=False),
            gate.key("WIOANARROWNARROWNARR", "alice", "a-secret", workspaces=["wsphotos"], permission=1),
            gate.key("WIOANOTHINGNOTHINGNO", "alice", "a-secret", workspaces=[]),
            gate.key(
                "WIOLLINKLINKLINKLINK", "alice", "a-secret", kind="link", workspaces=["wsphotos"], permission=1,
                workspace="wsphotos", key="", mode="read", max_downloads=None, max_bytes=None, password=None,
                name="",
            ),
            gate.user("dave", enabled=False),
            gate.key("WIOADAVEDAVEDAVEDAVE", "dave", "a-secret"),
            gate.key("WIOAORPHANORPHANORPH", "alice", "a-secret", parents=["WIOANEVERNEVERNEVERN"]),
        ]
    )  # fmt: skip
    gate.client().put_object(Bucket="inbox", Key="secret", Body=b"alice's")
    gate.client().put_object(Bucket="photos", Key="open", Body=b"for bob")
    gate.client().put_object(Bucket="shared", Key="both", Body=b"for all")


def signed_by(gate: Gate, access_key_id: str, secret: str = "a-secret", **more: Any) -> Attacker:
    return Attacker(gate, access_key_id=access_key_id, secret=secret, **more)


@pytest.mark.parametrize("service", ["sts", "wio", "s3express", "S3", "", "s3/aws4_request"])
def test_a_signature_for_another_service_is_no_signature_for_s3(gate: Gate, service: str) -> None:
    reply = Attacker(gate, service=service).send("GET", "/photos/open")
    assert reply.status in (400, 403)
    assert b"for bob" not in reply.body


@pytest.mark.parametrize("service", ["s3", "wio"])
def test_a_signature_for_another_service_is_none_for_sts(gate: Gate, service: str) -> None:
    reply = Attacker(gate, service=service).send("POST", "/", headers=[FORM], body=STS)
    assert (reply.status, reply.code) == (400, "AuthorizationHeaderMalformed"), reply.body


def test_sts_takes_no_unsigned_body(gate: Gate) -> None:
    alice = Attacker(gate, service="sts")
    for payload in ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
        reply = alice.send("POST", "/", headers=[FORM], body=STS, payload=payload)
        assert reply.status in (400, 403), (payload, reply.body)
    head = alice.head("POST", "/", headers=[FORM], body=STS, unsigned=[("content-length", str(len(STS)))])
    reply = talk(gate, head + STS.replace(b"GetCallerIdentity", b"GetSessionToken99"), "POST")
    assert reply.status in (400, 403), reply.body
    assert reply.code not in ("", "ServiceUnavailable"), reply.body


@pytest.mark.parametrize("region", ["us-west-2", "US-EAST-1", "", "us-east-1/s3"])
def test_a_signature_for_another_region_is_none(gate: Gate, region: str) -> None:
    assert Attacker(gate, region=region).send("GET", "/photos/open").status in (400, 403)


def test_the_gates_own_signature_is_worth_nothing_at_the_gate_and_a_clients_none_at_the_node(
    gate: Gate,
) -> None:
    node = signed_by(gate, gate.minio.access_key, gate.minio.secret_key)
    assert node.send("GET", "/photos/open").code == "InvalidAccessKeyId"
    with pytest.raises(ClientError, match=r"InvalidAccessKeyId|Forbidden"):
        gate.client_of(
            Attacker(gate).access_key_id, secret_of("alice"), endpoint=gate.minio.endpoint
        ).list_buckets()


def test_session_tokens(gate: Gate) -> None:
    def status(token: str | None, akid: str = "WIOSALICESESSIONSESS") -> tuple[int, str]:
        reply = signed_by(gate, akid, "session-secret", token=token).send("GET", "/photos/open")
        return reply.status, reply.code

    assert status("the-token")[0] == 200
    for wrong in (None, "other-token", "the-token ", "THE-TOKEN", "x", "the-token,the-token"):
        assert (
            status(wrong) in ((400, "InvalidToken"), (403, "SignatureDoesNotMatch")) or wrong == "the-token "
        )
    assert status("the-token", "WIOSALICEOTHEROTHERO") == (400, "InvalidToken")
    assert status("the-token", "WIOSEXPIREDEXPIREDEX") == (400, "ExpiredToken")
    # A key without a token takes none.
    reply = Attacker(gate, token="the-token").send("GET", "/photos/open")
    assert (reply.status, reply.code) == (400, "InvalidToken")
    # A token that is sent but not signed is no token.
    reply = signed_by(gate, "WIOSALICESESSIONSESS", "session-secret").send(
        "GET", "/photos/open", unsigned=[("x-amz-security-token", "the-token")]
    )
    assert (reply.status, reply.code) == (403, "AccessDenied")


@pytest.mark.parametrize(
    "akid", ["WIOADISABLEDDISABLED", "WIOLLINKLINKLINKLINK", "WIOADAVEDAVEDAVEDAVE", "WIOAORPHANORPHANORPH"]
)
def test_credentials_that_are_none(gate: Gate, akid: str) -> None:
    attacker = signed_by(gate, akid)
    for method, target in (
        ("GET", "/photos/open"), ("PUT", "/photos/new"), ("GET", "/"), ("DELETE", "/photos/open"),
        ("GET", "/minio/admin/v3/get-bucket-quota?bucket=photos"), ("PUT", "/fresh-bucket"),
    ):  # fmt: skip
        reply = attacker.send(method, target)
        assert (reply.status, reply.code) in ((403, "InvalidAccessKeyId"), (403, "AccessDenied")), (
            target,
            reply,
        )
    reply = signed_by(gate, akid, service="sts").send("POST", "/", headers=[FORM], body=STS)
    assert reply.status == 403, reply.body


def test_a_scope_binds_every_operation(gate: Gate) -> None:
    narrow = signed_by(gate, "WIOANARROWNARROWNARR")
    assert narrow.send("GET", "/photos/open").status == 200
    for method, target in (
        ("GET", "/inbox/secret"), ("HEAD", "/inbox/secret"), ("GET", "/inbox"), ("HEAD", "/inbox"),
        ("GET", "/inbox?location"), ("GET", "/inbox?uploads"), ("GET", "/inbox?acl"), ("GET", "/inbox?versioning"),
        ("GET", "/inbox?events=s3:ObjectCreated:*"), ("PUT", "/photos/new"), ("DELETE", "/photos/open"),
        ("POST", "/photos/new?uploads"), ("DELETE", "/photos"), ("PUT", "/photos/open?tagging"),
        ("DELETE", "/photos/open?tagging"), ("PUT", "/photos/open?legal-hold"), ("POST", "/photos?delete"),
    ):  # fmt: skip
        reply = narrow.send(method, target)
        assert reply.status == 403, (method, target, reply)
    assert b"inbox" not in narrow.send("GET", "/").body
    assert b"<Bucket>" not in signed_by(gate, "WIOANOTHINGNOTHINGNO").send("GET", "/").body


SOURCES = (
    "alice.inbox/secret", "/alice.inbox/secret", "%2Falice.inbox%2Fsecret", "alice.inbox/secret?versionId=null",
    "alice.photos/../alice.inbox/secret", "alice.photos/..%2finbox.wsinbox/secret", "inbox/secret",
    "{bucket}/base/alice/inbox.wsinbox/secret", "/{bucket}/base%2Falice%2Finbox.wsinbox%2Fsecret",
    "alice.photos/%2e%2e/inbox.wsinbox/secret", "alice.photos%00/open", "alice.photos/open%00/../secret",
    "http://alice.inbox/secret", "arn:aws:s3:::alice.inbox/secret", "//alice.inbox/secret",
    "alice.photos/open?versionId=x&versionId=../../inbox", "alice.photos/open?versionId=%0d%0ax",
)  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_no_copy_source_leads_out_of_what_one_may_read(gate: Gate, source: str) -> None:
    bob = Attacker(gate, "bob")
    source = source.format(bucket=gate.bucket)
    header = [("x-amz-copy-source", source)]
    for reply in (
        bob.send("PUT", "/alice.shared/stolen", headers=header),
        talk(
            gate,
            f"PUT {bob.presign('PUT', '/alice.shared/stolen', header)} HTTP/1.1\r\n"
            f"Host: {bob.host_header}\r\nContent-Length: 0\r\n\r\n".encode(),
            "PUT",
        ),
    ):
        assert 400 <= reply.status < 500, (source, reply, reply.body)
    assert b"stolen" not in bob.send("GET", "/alice.shared").body


def test_upload_ids_are_bound(gate: Gate) -> None:
    alice, bob = Attacker(gate), Attacker(gate, "bob")
    mine = alice.send("POST", "/shared/big?uploads").find("UploadId")
    other = alice.send("POST", "/inbox/big?uploads").find("UploadId")
    assert mine
    assert other
    # Bob may write to `shared`, not to `inbox`: an id from there opens nothing, neither here nor there.
    for target in (
        f"/alice.shared/big?partNumber=1&uploadId={other}",
        f"/alice.inbox/big?partNumber=1&uploadId={other}",
    ):
        assert bob.send("PUT", target, body=b"x").status in (403, 404)
    for target in (f"/alice.shared/big?uploadId={other}", f"/alice.shared/other?uploadId={mine}"):
        assert bob.send("GET", target).code == "NoSuchUpload"
        assert bob.send("DELETE", target).code == "NoSuchUpload"
        reply = bob.send(
            "POST", target,
            body=b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>"
            b"</CompleteMultipartUpload>",
        )  # fmt: skip
        assert reply.code == "NoSuchUpload", reply.body
    # Carol only reads: she may see that there is an upload, and end or feed none.
    carol = Attacker(gate, "carol")
    assert carol.send("PUT", f"/alice.shared/big?partNumber=1&uploadId={mine}", body=b"x").status == 403
    assert carol.send("DELETE", f"/alice.shared/big?uploadId={mine}").status == 403
    for forged in (
        mine[:-4] + "AAAA",
        "1." + base64.urlsafe_b64encode(b"x" * 64).decode(),
        "1",
        "",
        "../x",
        mine + "A",
    ):
        assert alice.send("GET", f"/shared/big?uploadId={forged}").code == "NoSuchUpload", forged


def test_continuation_tokens_are_bound(gate: Gate) -> None:
    alice, bob = Attacker(gate), Attacker(gate, "bob")
    for number in range(3):
        alice.send("PUT", f"/inbox/n{number}", body=b"x")
    token = alice.send("GET", "/inbox?list-type=2&max-keys=1").find("NextContinuationToken")
    assert token
    for attacker, bucket in ((bob, "alice.photos"), (alice, "shared")):
        reply = attacker.send("GET", f"/{bucket}?list-type=2&continuation-token={token}")
        assert (reply.status, reply.code) == (400, "InvalidArgument")
    upload = alice.send("POST", "/shared/tok?uploads").find("UploadId")
    assert alice.send("GET", f"/shared?list-type=2&continuation-token={upload[2:]}").status == 400
    assert alice.send("GET", f"/inbox/n0?uploadId=1.{token}").code == "NoSuchUpload"


def test_whatever_is_sealed_is_sealed_for_one_use() -> None:
    sealer = Sealer("a deployment secret of enough characters")
    uses = [
        b"credential:A",
        b"credential:B",
        b"node:A",
        b"upload",
        b"token:ws",
        b"node-upload",
        b"call:x",
        b"answer:x",
    ]
    for use in uses:
        sealed = sealer.seal(b"x", use)
        for other in uses:
            if other != use:
                with pytest.raises(SealError):
                    sealer.open(sealed, other)
        with pytest.raises(SealError):
            Sealer("another deployment secret, long enough").open(sealed, use)
        for broken in ("", "A", sealed[:-1], sealed[1:], sealed + "AAAA", "é" * 40, "\0"):
            with pytest.raises(SealError):
                sealer.open(broken, use)


def test_a_sealed_secret_moved_to_another_id_opens_nothing(gate: Gate) -> None:
    """Whoever can write records, but has not the deployment's secret, makes no credential out of another's."""
    sealed = gate.key("WIOABOBBOBBOBBOBBOB2", "bob", secret_of("bob")).value
    assert sealed is not None
    moved = gate.key("WIOAMOVEDMOVEDMOVEDM", "alice", "x")
    assert moved.value is not None
    moved.value["secret"] = sealed["secret"]
    gate.apply([moved])
    reply = signed_by(gate, "WIOAMOVEDMOVEDMOVEDM", secret_of("bob")).send("GET", "/inbox/secret")
    assert (reply.status, reply.code) == (403, "InvalidAccessKeyId")


def policy(bucket: str, *conditions: Any) -> str:
    expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    document = {"expiration": expiration, "conditions": [{"bucket": bucket}, *conditions]}
    return base64.b64encode(json.dumps(document).encode()).decode()


def post(
    gate: Gate, target: str, fields: dict[str, str], host: str | None = None, query_auth: bool = False
) -> Any:
    alice = Attacker(gate)
    amz_date = sigv4.format_amz_date(time.time())
    fields = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{alice.access_key_id}/{amz_date[:8]}/us-east-1/s3/aws4_request",
        "x-amz-date": amz_date,
        **fields,
    }
    key = signing_key(alice.secret, amz_date[:8], "us-east-1", "s3")
    fields["x-amz-signature"] = hmac.digest(key, fields["policy"].encode(), "sha256").hex()
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    )
    body += b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--b--\r\n'
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {host or alice.host_header}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    return talk(gate, head.encode() + body, "POST")


def test_a_forms_policy_binds_bucket_key_and_everything_else(gate: Gate) -> None:
    common = [["starts-with", "$x-amz-", ""], {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
              ["starts-with", "$x-amz-credential", ""], ["starts-with", "$x-amz-date", ""]]  # fmt: skip
    good = policy("photos", {"key": "form/a"}, *common)
    assert post(gate, "/photos", {"key": "form/a", "policy": good}).status == 204
    for target, fields, host in (
        ("/inbox", {"key": "form/a"}, None),
        ("/photos", {"key": "form/b"}, None),
        ("/photos", {"key": "form/a", "x-amz-meta-snowball-auto-extract": "true"}, None),
        ("/photos", {"key": "form/a", "acl": "public-read"}, None),
        ("/photos", {"key": "form/a", "bucket": "inbox"}, None),
        ("/", {"key": "form/a"}, "inbox.s3.example.org"),
        ("/photos?x-amz-acl=public-read", {"key": "form/a"}, None),
        ("/photos?acl", {"key": "form/a"}, None),
        ("/photos?delete", {"key": "form/a"}, None),
        ("/photos?uploads", {"key": "form/a"}, None),
        ("/photos?X-Amz-Signature=x", {"key": "form/a"}, None),
    ):
        reply = post(gate, target, {**fields, "policy": good}, host)
        assert reply.status in (400, 403, 501), (target, fields, reply)
    odd = policy("photos", ["starts-with", "$key", ""], {"x-amz-meta-snowball-auto-extract": "true"}, *common)
    assert (
        post(
            gate, "/photos", {"key": "form/c", "x-amz-meta-snowball-auto-extract": "true", "policy": odd}
        ).status
        == 501
    )
    anything = policy("photos", ["starts-with", "$key", ""], *common)
    for key in ("../inbox.wsinbox/f", "a/../../x", "..", "a\0b"):
        assert post(gate, "/photos", {"key": key, "policy": anything}).status == 400, key


UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
CHUNKED = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"


def test_an_unsigned_trailer_is_no_way_around_the_signature(gate: Gate) -> None:
    """CVE-2025-31489 and CVE-2026-41145: an access key id without its secret, in the header and in the query."""
    known = Attacker(gate)
    guess = signed_by(gate, known.access_key_id, "not the secret")
    headers = [
        ("x-amz-decoded-content-length", "5"), ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("content-encoding", "aws-chunked"),
    ]  # fmt: skip
    length = [("content-length", str(len(CHUNKED)))]
    assert (
        talk(
            gate,
            known.head("PUT", "/photos/cve", headers, payload=UNSIGNED_TRAILER, unsigned=length) + CHUNKED,
            "PUT",
        ).status
        == 200
    )
    reply = talk(
        gate,
        guess.head("PUT", "/photos/cve2", headers, payload=UNSIGNED_TRAILER, unsigned=length) + CHUNKED,
        "PUT",
    )
    assert reply.code == "SignatureDoesNotMatch"
    scope = (
        f"{known.access_key_id}%2F{time.strftime('%Y%m%d', time.gmtime())}%2Fus-east-1%2Fs3%2Faws4_request"
    )
    more = "".join(f"{name}: {value}\r\n" for name, value in [*headers, *length])
    for query in (
        f"?X-Amz-Credential={scope}",
        f"?X-Amz-Credential={scope}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=x",
        f"?AWSAccessKeyId={known.access_key_id}&Signature=x&Expires=9999999999",
        "",
    ):
        head = (
            f"PUT /photos/cve2{query} HTTP/1.1\r\nHost: {known.host_header}\r\n"
            f"x-amz-content-sha256: {UNSIGNED_TRAILER}\r\n{more}\r\n"
        )
        assert talk(gate, head.encode() + CHUNKED, "PUT").status in (400, 403), query
    assert b"cve2" not in known.send("GET", "/photos").body


@pytest.mark.parametrize(
    ("method", "target"),
    [("POST", "/photos?delete"), ("PUT", "/photos/open?tagging"), ("PUT", "/fresh-made"), ("PUT", "/photos/c"),
     ("POST", "/photos/open?uploads"), ("DELETE", "/photos/open"), ("POST", "/photos/open?select&select-type=2")],
)  # fmt: skip
def test_trailers_only_where_objects_are_stored(gate: Gate, method: str, target: str) -> None:
    headers = [("x-amz-decoded-content-length", "5"), ("x-amz-trailer", "x-amz-checksum-crc32")]
    if target.endswith("/c"):
        headers.append(("x-amz-copy-source", "photos/open"))
    alice = Attacker(gate)
    head = alice.head(
        method, target, headers, payload=UNSIGNED_TRAILER, unsigned=[("content-length", str(len(CHUNKED)))]
    )
    assert talk(gate, head + CHUNKED, method).status in (400, 411, 501), target


def test_framing_never_ends_up_in_an_object(gate: Gate) -> None:
    alice = Attacker(gate)
    for coding in ("aws-chunked", "gzip,aws-chunked", "AWS-CHUNKED, gzip", "aws-chunked,aws-chunked"):
        headers = [("x-amz-decoded-content-length", "5"), ("x-amz-trailer", "x-amz-checksum-crc32"),
                   ("content-encoding", coding)]  # fmt: skip
        head = alice.head(
            "PUT",
            "/photos/plain",
            headers,
            payload=UNSIGNED_TRAILER,
            unsigned=[("content-length", str(len(CHUNKED)))],
        )
        assert talk(gate, head + CHUNKED, "PUT").status == 200
        reply = alice.send("GET", "/photos/plain")
        assert reply.body == b"hello"
        assert "aws-chunked" not in reply.headers.get("content-encoding", "").lower()
    wrong = CHUNKED.replace(b"NhCmhg", b"AAAAAA")
    head = alice.head(
        "PUT", "/photos/wrong",
        [("x-amz-decoded-content-length", "5"), ("x-amz-trailer", "x-amz-checksum-crc32")],
        payload=UNSIGNED_TRAILER, unsigned=[("content-length", str(len(wrong)))],
    )  # fmt: skip
    assert talk(gate, head + wrong, "PUT").status == 400
    assert alice.send("GET", "/photos/wrong").status == 404


def test_a_signed_hash_binds_the_body(gate: Gate) -> None:
    alice = Attacker(gate)
    for size in (10, 200_000):
        body = b"x" * size
        head = alice.head("PUT", "/photos/hashed", body=body, unsigned=[("content-length", str(size))])
        reply = talk(gate, head + b"y" * size, "PUT")
        assert reply.code == "XAmzContentSHA256Mismatch", reply.body
    assert alice.send("GET", "/photos/hashed").status == 404
