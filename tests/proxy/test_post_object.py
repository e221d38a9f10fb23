"""Uploads by HTML forms: the policy is all that authorises them, and all of it is enforced."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.proxy.gates import KEYS, Gate
from tests.proxy.wire import Reply, send

BOUNDARY = "xXboundaryXx"


def multipart(
    fields: dict[str, str], file: bytes | None, filename: str = "cat.jpg", after: str = ""
) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if file is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
        parts.append(head.encode() + file + b"\r\n")
    return b"".join(parts) + after.encode() + f"--{BOUNDARY}--\r\n".encode()


def post(
    gate: Gate, bucket: str, body: bytes, headers: dict[str, str] | None = None, query: str = ""
) -> Reply:
    about = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **(headers or {})}
    return send(gate.endpoint, "POST", f"/{bucket}{query}", about, body)


def form(gate: Gate, key: str = "form/${filename}", *, user: str = "alice", **more: Any) -> dict[str, str]:
    """A presigned form of boto3's; `fields` and `conditions` as it takes them."""
    signed = gate.client(user).generate_presigned_post(
        more.get("bucket", "photos"),
        key,
        more.get("fields"),
        more.get("conditions"),
        more.get("expires", 600),
    )
    fields: dict[str, str] = signed["fields"]
    return fields


@pytest.mark.parametrize("size", [0, 1, 70_000, 3 * 1024 * 1024])
def test_a_form_uploads(gate: Gate, size: int) -> None:
    file = os.urandom(size)
    fields = form(
        gate,
        fields={"Content-Type": "image/jpeg", "x-amz-meta-who": "me", "acl": "private"},
        conditions=[{"Content-Type": "image/jpeg"}, {"x-amz-meta-who": "me"}, {"acl": "private"}],
    )
    reply = post(gate, "photos", multipart(fields, file))
    assert reply.status == 204, reply.body
    got = gate.client().get_object(Bucket="photos", Key="form/cat.jpg")
    assert got["Body"].read() == file
    assert (got["ContentType"], got["Metadata"]) == ("image/jpeg", {"who": "me"})
    assert reply.headers["etag"] == got["ETag"]
    assert reply.headers["location"] == f"{gate.endpoint}/photos/form/cat.jpg"
    assert gate.charged() == gate.stored()


def test_answers(gate: Gate) -> None:
    fields = form(
        gate, fields={"success_action_status": "201"}, conditions=[{"success_action_status": "201"}]
    )
    reply = post(gate, "photos", multipart(fields, b"x"))
    assert (reply.status, reply.find("Bucket"), reply.find("Key")) == (201, "photos", "form/cat.jpg")
    where = "http://localhost/done?x=1"
    fields = form(
        gate,
        fields={"success_action_redirect": where},
        conditions=[["starts-with", "$success_action_redirect", ""]],
    )
    reply = post(gate, "photos", multipart(fields, b"x"))
    assert reply.status == 303
    assert reply.headers["location"].startswith(where + "&bucket=photos&key=form%2Fcat.jpg&etag=%22")


def refused(gate: Gate, body: bytes, status: int, code: str, **more: Any) -> Reply:
    before = gate.stored(), gate.charged()
    reply = post(gate, more.pop("bucket", "photos"), body, **more)
    assert (reply.status, reply.code) == (status, code), reply.body
    assert (gate.stored(), gate.charged()) == before, "nothing is stored, and nothing is held"
    return reply


def test_conditions_are_enforced(gate: Gate) -> None:
    fields = form(gate, "only/this")
    refused(gate, multipart({**fields, "key": "only/that"}, b"x"), 403, "AccessDenied")
    refused(gate, multipart({**fields, "x-amz-meta-extra": "1"}, b"x"), 403, "AccessDenied")
    refused(gate, multipart(fields, b"x"), 403, "AccessDenied", bucket="inbox")
    fields = form(gate, conditions=[["content-length-range", 2, 4]])
    refused(gate, multipart(fields, b"x"), 400, "EntityTooSmall")
    refused(gate, multipart(fields, b"x" * 100_000), 400, "EntityTooLarge")
    assert post(gate, "photos", multipart(fields, b"xyz")).status == 204
    fields = form(gate, fields={"acl": "public-read"}, conditions=[{"acl": "public-read"}])
    assert "wio share" in refused(gate, multipart(fields, b"x"), 501, "NotImplemented").find("Message")
    fields = form(gate, "../up", bucket="photos")
    refused(gate, multipart(fields, b"x"), 400, "InvalidURI")
    refused(gate, multipart(form(gate, expires=-10), b"x"), 403, "AccessDenied")


def test_signatures_are_checked(gate: Gate) -> None:
    fields = form(gate)
    refused(gate, multipart({**fields, "x-amz-signature": "0" * 64}, b"x"), 403, "SignatureDoesNotMatch")
    credential = fields["x-amz-credential"].replace(KEYS["alice"], KEYS["bob"])
    refused(gate, multipart({**fields, "x-amz-credential": credential}, b"x"), 403, "SignatureDoesNotMatch")
    credential = fields["x-amz-credential"].replace(KEYS["alice"], "WIOAUNKNOWNUNKNOWN22")
    refused(gate, multipart({**fields, "x-amz-credential": credential}, b"x"), 403, "InvalidAccessKeyId")
    refused(gate, multipart({"key": "k"}, b"x"), 403, "AccessDenied")
    refused(gate, multipart({**fields, "AWSAccessKeyId": "x"}, b"x"), 400, "InvalidRequest")
    refused(gate, multipart({**fields, "x-amz-security-token": "x"}, b"x"), 400, "InvalidToken")
    refused(
        gate,
        multipart(form(gate, user="bob", bucket="alice.photos"), b"x"),
        403,
        "AccessDenied",
        bucket="alice.photos",
    )


def test_a_form_is_one_form_of_authentication(gate: Gate) -> None:
    fields = form(gate)
    body = multipart(fields, b"x")
    refused(gate, body, 403, "AccessDenied", headers={"x-amz-meta-a": "unsigned"})
    reply = post(gate, "photos", body, headers={"Authorization": "AWS4-HMAC-SHA256 x"})
    assert reply.status == 400
    # Of another operation, a form proves nothing.
    refused(gate, body, 400, "InvalidArgument", query="?delete")
    refused(gate, body, 501, "NotImplemented", query="?policy")


def test_malformed_forms_store_nothing(gate: Gate) -> None:
    fields = form(gate)
    refused(gate, multipart(fields, None), 400, "InvalidArgument")
    after = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="submit"\r\n\r\ngo\r\n'
    refused(gate, multipart(fields, b"x" * 200_000, after=after), 400, "MalformedPOSTRequest")
    whole = multipart(fields, b"x" * 200_000)
    refused(gate, whole[:-2] + b"xx", 400, "MalformedPOSTRequest")
    refused(gate, multipart(fields, b"x")[:-40] + b"\r\n" * 20, 400, "MalformedPOSTRequest")
    refused(gate, b"nonsense", 400, "MalformedPOSTRequest")
    refused(gate, multipart({**fields, "key": ""}, b"x"), 403, "AccessDenied")


def test_a_session_signs_forms_too(gate: Gate) -> None:
    akid, secret, token = "WIOSFORMFORMFORMFORM", "session-secret-" + "x" * 25, "a-session-token"
    gate.apply([gate.session(akid, "alice", secret, token)])
    client = gate.client_of(akid, secret, token)
    fields = client.generate_presigned_post("photos", "session", None, None, 600)["fields"]
    assert post(gate, "photos", multipart(fields, b"x")).status == 204
    refused(gate, multipart({**fields, "x-amz-security-token": "other"}, b"x"), 400, "InvalidToken")
