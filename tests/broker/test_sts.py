"""STS as AWS's own SDK speaks it, and web identities."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import boto3
import httpx
import pytest
import uvicorn
from botocore.exceptions import ClientError
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from broker import sts
from broker.app import create_app
from broker.auth import caller_for
from broker.handlers import call_handlers
from broker.oidc import OidcVerifier
from broker.settings import Settings
from tests.broker.conftest import ADMIN, Start, World


@pytest.fixture
async def served(start: Start, settings: Settings) -> Any:
    """The base URL of a broker behind a real socket: botocore signs what it sends there."""
    async with start():
        pass
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with httpx.AsyncClient() as http, asyncio.timeout(20):
        while True:
            try:
                if (await http.get(url + "/-/ready")).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)
    yield url
    server.should_exit = True
    await asyncio.to_thread(thread.join)
    listening.close()


def client(url: str, **keys: str) -> Any:
    given = keys or {
        "aws_access_key_id": ADMIN["access_key_id"], "aws_secret_access_key": ADMIN["secret_access_key"],
    }  # fmt: skip
    return boto3.client("sts", endpoint_url=url, region_name="us-east-1", **given)


async def test_boto3_gets_sessions_and_reads_refusals(served: str) -> None:
    def run() -> None:
        admin = client(served)
        assert admin.get_caller_identity()["Arn"] == "arn:wio:sts:::user/admin"
        made = admin.assume_role(
            RoleArn="arn:wio:iam:::role/all", RoleSessionName="laptop", DurationSeconds=900
        )
        assert made["AssumedRoleUser"]["Arn"] == "arn:wio:sts:::assumed-role/all/laptop"
        keys = made["Credentials"]
        assert 800 < keys["Expiration"].timestamp() - time.time() <= 900
        session = client(
            served, aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )  # fmt: skip
        assert session.get_caller_identity()["Arn"] == "arn:wio:sts:::assumed-role/admin"
        child = session.get_session_token(DurationSeconds=3600)["Credentials"]
        assert child["Expiration"] == keys["Expiration"], "a child never outlives its parent"
        for code, wrong in (
            ("ValidationError", {"RoleArn": "arn:aws:iam::123456789012:role/x"}),
            ("ValidationError", {"Policy": "{}"}),
            ("ValidationError", {"Tags": [{"Key": "a", "Value": "b"}]}),
            ("ValidationError", {"RoleArn": "arn:wio:iam:::role/admin.photos/owner"}),
            ("AccessDenied", {"RoleArn": "arn:wio:iam:::role/admin.photos"}),
            ("ValidationError", {"DurationSeconds": 43201}),
        ):
            body: dict[str, Any] = {"RoleArn": "arn:wio:iam:::role/all", "RoleSessionName": "xx"} | wrong
            with pytest.raises(ClientError) as refused:
                admin.assume_role(**body)
            assert refused.value.response["Error"]["Code"] == code
        stranger = client(served, aws_access_key_id="WIOANOBODY", aws_secret_access_key="x")
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            stranger.get_caller_identity()
        forger = client(
            served, aws_access_key_id=ADMIN["access_key_id"], aws_secret_access_key="not the secret"
        )
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            forger.get_caller_identity()

    await asyncio.to_thread(run)


async def test_a_role_is_the_scope_and_the_proxy_asks_by_call(stored: World) -> None:
    await stored.admin.ok("POST", "/workspaces", {"name": "photos"})
    handlers = call_handlers(stored.broker, None)
    params = {
        "Action": "AssumeRole", "Version": "2011-06-15", "RoleSessionName": "xx",
        "RoleArn": "arn:wio:iam:::role/admin.photos/read",
    }  # fmt: skip
    payload = {"params": params, "access_key_id": stored.admin.access_key_id, "request_id": "REQUEST"}
    answer = await handlers["sts"](payload)
    assert answer["status"] == 200
    assert "<RequestId>REQUEST</RequestId>" in answer["body"]
    (token,) = await stored.admin.ok("GET", "/tokens")
    assert token["scope"] == {"workspaces": ["admin.photos"], "permission": "read"}
    record = await stored.broker.live.credential(token["access_key_id"])
    assert record is not None
    assert record["parents"] == [stored.admin.access_key_id]
    assert record["permission"] == 1
    wider = {**params, "RoleArn": "arn:wio:iam:::role/all"}
    caller = await caller_for(stored.broker.db, token["access_key_id"])
    narrow = await sts.respond(stored.broker, None, wider, caller, "R")
    assert narrow.status == 200
    (newest,) = [
        row
        for row in await stored.admin.ok("GET", "/tokens")
        if row["access_key_id"] != token["access_key_id"]
    ]
    assert newest["scope"] == token["scope"]
    ended = await stored.admin.ok("DELETE", f"/tokens/{token['access_key_id']}")
    assert (ended["revoked"], ended["sessions"]) == ([token["access_key_id"]], 1)
    assert (await handlers["sts"]({**payload, "access_key_id": None}))["status"] == 403


class Issuer:
    """An OpenID provider whose keys can be rotated."""

    url = "https://id.example.org"

    def __init__(self) -> None:
        self.fetches = 0
        self.rotate()

    def rotate(self) -> None:
        self.key = RSAKey.generate_key(2048, auto_kid=True)

    def token(self, **claims: Any) -> str:
        body = {"iss": self.url, "aud": "wio", "sub": "s-1", "exp": int(time.time()) + 60} | claims
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, body, self.key)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/.well-known/openid-configuration":
            return httpx.Response(200, json={"issuer": self.url, "jwks_uri": self.url + "/keys"})
        self.fetches += 1
        return httpx.Response(200, json=KeySet([self.key]).as_dict(private=False))


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


async def test_a_web_identity_becomes_a_user_and_keys_rotate(
    world: World, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = OidcVerifier(issuer.url, "wio", 300.0, httpx.MockTransport(issuer.answer))

    async def ask(token: str) -> sts.StsAnswer:
        params = {
            "Action": "AssumeRoleWithWebIdentity", "RoleArn": "arn:wio:iam:::role/all",
            "RoleSessionName": "web", "WebIdentityToken": token,
        }  # fmt: skip
        return await sts.respond(world.broker, verifier, params, None, "R")

    first = await ask(issuer.token(preferred_username="admin", email="a@example.org"))
    assert first.status == 200, first.body
    names = {row["name"]: row["admin"] for row in await world.admin.ok("GET", "/users")}
    assert names == {"admin": True, "admin-2": False}, "a local login is never taken over"
    assert (await ask(issuer.token(preferred_username="renamed"))).status == 200
    assert len(await world.admin.ok("GET", "/users")) == 2
    for wrong in (
        issuer.token(aud="other"), issuer.token(iss="https://evil.example"), issuer.token(exp=1),
        issuer.token()[:-6] + "AAAAAA", "x", "",
    ):  # fmt: skip
        assert (await ask(wrong)).status == 400
    assert issuer.fetches == 1, "strangers' tokens do not make us fetch"
    monkeypatch.setattr("broker.oidc.SHORTEST_REFRESH", 0.0)
    issuer.rotate()
    assert (await ask(issuer.token())).status == 200
    await world.admin.ok("POST", "/users/admin-2/disable")
    assert (await ask(issuer.token())).status == 403
