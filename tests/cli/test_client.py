"""The API client: what it sends verifies as signed, and what it gets becomes one kind of failure."""

from __future__ import annotations

import hashlib
import socket
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.client import Broker, Keys
from broker.cli.failures import ExitCode, Failure
from sigv4 import parse

KEYS = Keys("WIOAAAAAAAAAAAAAAAAA", "x" * 40, "a-token")


class Scripted(httpx.BaseTransport):
    """Answers one thing and remembers what was asked."""

    def __init__(self, status: int = 200, content: bytes = b"{}", **headers: str) -> None:
        self.answer = (status, content, headers)
        self.asked: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        status, content, headers = self.answer
        return httpx.Response(status, content=content, headers=headers)


def verified(request: httpx.Request) -> str:
    """The access key id of a request whose signature holds for the bytes that go out."""
    path, _, query = bytes(request.extensions["target"]).partition(b"?")
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    body = request.read()
    presented = parse(
        request.method, path, query, headers, now=time.time(), region="us-east-1", service="wio"
    )
    presented.verify(KEYS.secret_access_key, body_sha256=hashlib.sha256(body).hexdigest())
    assert presented.session_token == KEYS.session_token
    return presented.access_key_id


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_whatever_is_asked_the_signature_holds(segment: str, value: str) -> None:
    try:
        (segment + value).encode()
    except UnicodeEncodeError:
        return
    transport = Scripted()
    broker = Broker("http://broker.test:9001", KEYS, transport=transport)
    broker.get("users", segment, action=value, key=None)
    broker.post("shares", body={"principal": value, "expires": None})
    assert [verified(request) for request in transport.asked] == [KEYS.access_key_id] * 2


def test_a_path_under_a_prefix_is_signed_too() -> None:
    transport = Scripted()
    Broker("https://broker.test/gate/", KEYS, transport=transport).delete("shares", "a/b", dry_run=True)
    assert transport.asked[0].extensions["target"] == b"/gate/api/v1/shares/a%2Fb?dry_run=true"
    assert verified(transport.asked[0])


def test_no_secret_goes_out() -> None:
    transport = Scripted()
    Broker("http://broker.test", KEYS, transport=transport).get("whoami")
    assert KEYS.secret_access_key.encode() not in b"".join(
        b"".join(pair) for pair in transport.asked[0].headers.raw
    )


@pytest.mark.parametrize(
    ("status", "content", "code", "exit_code"),
    [
        (
            404,
            b'{"error":{"code":"NotFound","message":"No.","request_id":"r1"}}',
            "NotFound",
            ExitCode.NOT_FOUND,
        ),
        (403, b'{"error":{"code":"AccessDenied","message":"No."}}', "AccessDenied", ExitCode.DENIED),
        (400, b'{"error":{"code":"ExpiredToken","message":"No."}}', "ExpiredToken", ExitCode.DENIED),
        (400, b'{"error":{"code":"InvalidRequest","message":"No."}}', "InvalidRequest", ExitCode.USAGE),
        (409, b'{"error":{"code":"Conflict","message":"No."}}', "Conflict", ExitCode.CONFLICT),
        (503, b"<html>balancer</html>", "HTTP503", ExitCode.UNAVAILABLE),
        (500, b"", "HTTP500", ExitCode.FAILURE),
        (302, b"", "HTTP302", ExitCode.FAILURE),
        (200, b"<html>a captive portal</html>", "HTTP200", ExitCode.FAILURE),
    ],
)
def test_failures(status: int, content: bytes, code: str, exit_code: ExitCode) -> None:
    with pytest.raises(Failure) as caught:
        Broker("http://broker.test", KEYS, transport=Scripted(status, content)).get("users")
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)


def test_a_stopped_broker_is_said_in_a_sentence() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: refused
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(Failure, match=f"No broker answers at {url}") as caught:
            Broker(url, KEYS).get("users")
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


def test_what_is_no_url_is_a_usage_error() -> None:
    for url in ("broker.test:9001", "ftp://x", "http://", ""):
        with pytest.raises(Failure) as caught:
            Broker(url, KEYS)
        assert caught.value.exit_code == ExitCode.USAGE
