"""Identity tokens of a real OpenID provider become sessions, at the broker and through the proxy's POST /."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from broker.settings import Settings
from tests import servers
from tests.broker.conftest import Client, Start
from tests.broker.test_planes import planes

AUDIENCE = "wio"


class Issuer:
    """An OpenID provider: its metadata, and keys that rotate. `fetches` counts requests for the keys."""

    def __init__(self) -> None:
        self.fetches = 0
        self.rotate()
        issuer = self

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += self.path == "/keys"
                found = issuer.pages().get(self.path)
                body = json.dumps(found).encode()
                self.send_response(200 if found else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def rotate(self) -> None:
        self.key = RSAKey.generate_key(2048, auto_kid=True)
        self.second = ECKey.generate_key("P-256", auto_kid=True)

    def pages(self) -> dict[str, Any]:
        return {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": KeySet([self.key, self.second]).as_dict(private=False),
        }

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "s-1", "iat": now, "exp": now + 300}
        return claims | {"preferred_username": "jane", "email": "jane@example.org"} | changed

    def token(self, **changed: Any) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, self.claims(**changed), self.key)

    def forgeries(self) -> dict[str, str]:
        """Tokens that prove nothing, by what is wrong with them."""

        def part(value: dict[str, Any]) -> str:
            return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

        now = int(time.time())
        header = {"alg": "RS256", "kid": self.key.kid}
        stranger = RSAKey.generate_key(2048)
        # By hand: the library refuses to make it.
        signed = f"{part({'alg': 'HS256', 'kid': self.key.kid})}.{part(self.claims())}"
        mac = hmac.new(self.key.as_pem(private=False), signed.encode(), "sha256").digest()
        confused = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        good = self.token()
        unsigned = f"{part({'alg': 'none'})}.{part(self.claims())}."
        without_expiry = {name: value for name, value in self.claims().items() if name != "exp"}
        return {
            "audience": self.token(aud="another"),
            "issuer": self.token(iss="https://evil.example"),
            "expired": self.token(exp=now - 3600),
            "not yet": self.token(nbf=now + 3600),
            "no expiry": jwt.encode(header, without_expiry, self.key),
            "no subject": self.token(sub=""),
            "unsigned": unsigned,
            "signature stripped": good.rpartition(".")[0] + ".",
            "another key": jwt.encode(header, self.claims(), stranger),
            "public key as secret": confused,
            "claims exchanged": ".".join(
                (good.split(".")[0], part(self.claims(sub="s-2")), good.split(".")[2])
            ),
            "nothing": "a.b.c",
        }


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    yield running
    running.server.shutdown()
    running.server.server_close()


async def test_identities_become_sessions_at_both_planes_and_forgeries_nothing(
    start: Start, settings: Settings, minio: servers.Minio, valkey: servers.Valkey, tmp_path: Path,
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    given = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
    async with planes(start, settings, minio, tmp_path, valkey.url, **given) as both:

        async def at_proxy(token: str, **more: Any) -> Any:
            config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
            sts = boto3.client("sts", endpoint_url=both.endpoint, region_name="us-east-1", config=config)
            wanted = {"RoleArn": "arn:wio:iam:::role/all", "RoleSessionName": "web"} | more
            return await asyncio.to_thread(
                sts.assume_role_with_web_identity, WebIdentityToken=token, **wanted
            )

        async def at_broker(token: str) -> int:
            form = {
                "Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleSessionName": "web",
                "RoleArn": "arn:wio:iam:::role/all", "WebIdentityToken": token,
            }  # fmt: skip
            return (await both.world.http.post("/", data=form)).status_code

        made = await at_proxy(issuer.token(), DurationSeconds=900)
        assert made["SubjectFromWebIdentityToken"] == f"{issuer.url}|s-1"
        keys = made["Credentials"]
        jane = Client(both.world.http, keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
        who = await jane.ok("GET", "/whoami")
        assert (who["user"], who["admin"], who["kind"]) == ("jane", False, "session")
        s3 = boto3.client(
            "s3", endpoint_url=both.endpoint, region_name="us-east-1", aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"], aws_session_token=keys["SessionToken"],
        )  # fmt: skip
        await asyncio.to_thread(s3.create_bucket, Bucket="notes")
        await asyncio.to_thread(s3.put_object, Bucket="notes", Key="a", Body=b"x")
        assert await at_broker(issuer.token(aud=[AUDIENCE, "another"])) == 200
        by_curve = jwt.encode({"alg": "ES256", "kid": issuer.second.kid}, issuer.claims(), issuer.second)
        assert await at_broker(by_curve) == 200
        users = len(await both.world.admin.ok("GET", "/users"))

        for wrong, token in issuer.forgeries().items():
            with pytest.raises(ClientError, match="InvalidIdentityToken"):
                await at_proxy(token)
            assert await at_broker(token) == 400, wrong
        assert len(await both.world.admin.ok("GET", "/users")) == users
        assert issuer.fetches <= 3, "forgeries do not make us ask the provider each time"

        retired = issuer.token()
        monkeypatch.setattr("broker.oidc.SHORTEST_REFRESH", 0.0)
        issuer.rotate()
        assert await at_broker(issuer.token()) == 200
        assert await at_broker(retired) == 400
        assert (await at_proxy(issuer.token()))["Credentials"]["AccessKeyId"].startswith("WIOS")
        # Who lost the provider keeps what was fetched; who was disabled here stays out whatever it says.
        issuer.server.shutdown()
        issuer.server.server_close()
        assert await at_broker(issuer.token()) == 200
        await both.world.admin.ok("POST", "/users/jane/disable")
        assert await at_broker(issuer.token()) == 403
