"""A proxy of one's own before a real MinIO and a real Redis, without a broker: definitions are written directly."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from quota import Change, LiveSettings, LiveState, Sealer, new_id
from quota.epoch import rebuild
from tests import servers

SECRET = "a deployment secret of enough characters"
KEYS = {"alice": "WIOAALICEALICEALICE2", "bob": "WIOABOBBOBBOBBOBBOB2", "carol": "WIOACAROLCAROLCAROL2"}


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    """Status and code of an error that a client raised."""
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def secret_of(user: str) -> str:
    return f"secret-of-{user}-{'x' * 20}"


@dataclass
class Gate:
    """Alice owns `photos` and `inbox`; Bob reads `alice.photos`; Carol has nothing."""

    settings: LiveSettings
    minio: servers.Minio
    endpoint: str
    bucket: str
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    sealer: Sealer = field(default_factory=lambda: Sealer(SECRET))
    versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def prefix(self, workspace: str) -> str:
        return f"base/alice/{workspace}.ws{workspace}/"

    # Definitions.

    def user(self, name: str, **more: Any) -> Change:
        value = {"handle": name, "enabled": True, "admin": False, "groups": [], **more}
        return Change("user", name, next(self.versions), value)

    def key(self, access_key_id: str, user: str, secret: str, **more: Any) -> Change:
        value = {
            "user": user,
            "kind": "key",
            "secret": self.sealer.seal(secret.encode(), b"credential:" + access_key_id.encode()),
            "token": None,
            "parents": [],
            "workspaces": None,
            "permission": None,
            "expires": None,
            "enabled": True,
            **more,
        }
        return Change("credential", access_key_id, next(self.versions), value)

    def session(self, access_key_id: str, user: str, secret: str, token: str, **more: Any) -> Change:
        digest = hashlib.sha256(token.encode()).hexdigest()
        return self.key(access_key_id, user, secret, kind="session", token=digest, **more)

    def workspace(self, name: str, owner: str = "alice", **more: Any) -> Change:
        value = {
            "owner": owner,
            "names": [f"{owner}.{name}"],
            "root": "root1",
            "node": "node1",
            "bucket": self.bucket,
            "prefix": f"base/{owner}/{name}.ws{name}/",
            "public": False,
            "versioned": False,
            "state": "open",
            "created": 1_700_000_000_000,
            **more,
        }
        return Change("workspace", f"ws{name}", next(self.versions), value)

    def grant(self, workspace: str, principal: str, permission: int, **more: Any) -> Change:
        share = f"share-{workspace}-{principal.replace(':', '-')}"
        value = {"share": share, "permission": permission, "expires": None, "chain": [], **more}
        return Change("grant", f"ws{workspace}|{principal}", next(self.versions), value)

    def limit(self, id: str, **limits: Any) -> Change:
        return Change("limit", id, next(self.versions), {"bytes": None, "objects": None, **limits})

    def node(self, id: str = "node1", **more: Any) -> Change:
        value = {
            "endpoint": self.minio.endpoint,
            "region": "us-east-1",
            "access_key_id": self.minio.access_key,
            "secret": self.sealer.seal(self.minio.secret_key.encode(), b"node:" + id.encode()),
            "addresses": [],
            "checks_payload": True,
            **more,
        }
        return Change("node", id, next(self.versions), value)

    def changes(self) -> list[Change]:
        return [
            self.node(),
            *(self.user(name) for name in KEYS),
            *(self.key(key, name, secret_of(name)) for name, key in KEYS.items()),
            self.workspace("photos"),
            self.workspace("inbox"),
            self.grant("photos", "u:bob", 1),
        ]

    async def live(self) -> LiveState:
        return await LiveState.connect(self.settings)

    def apply(self, changes: Sequence[Change], revoke: Sequence[str] = ()) -> Any:
        """Apply changes; with `revoke`, wait until they hold, and return the acknowledgements."""

        async def run() -> Any:
            live = await self.live()
            try:
                number = await live.apply(changes, revoke)
                return await live.await_acks(number) if number else None
            finally:
                await live.aclose()

        return asyncio.run(run())

    def delete(self, kind: Any, id: str, revoke: Sequence[str] = ()) -> Any:
        return self.apply([Change(kind, id, next(self.versions), None)], revoke)

    def usage(self, unit: str = "w:wsphotos") -> dict[str, int]:
        async def run() -> dict[str, int]:
            live = await self.live()
            try:
                (found,) = await live.usage([unit])
                return found
            finally:
                await live.aclose()

        return asyncio.run(run())

    def charged(self, unit: str = "w:wsphotos") -> tuple[int, int]:
        """All that is charged, (bytes, objects), whether used, held or in doubt."""
        usage = self.usage(unit)
        return usage["b"] + usage["hb"] + usage["db"], usage["o"] + usage["ho"] + usage["do"]

    def stored(self, workspace: str = "photos") -> tuple[int, int]:
        """What the node holds of a workspace, (bytes, objects)."""
        pages = self.node_client().get_paginator("list_objects_v2")
        sizes = [
            item["Size"]
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix(workspace))
            for item in page.get("Contents", ())
        ]
        return sum(sizes), len(sizes)

    # Clients.

    def client(self, user: str = "alice", service: str = "s3", **config: Any) -> Any:
        return self.client_of(KEYS[user], secret_of(user), service=service, **config)

    def client_of(
        self,
        access_key_id: str,
        secret: str,
        token: str | None = None,
        *,
        service: str = "s3",
        endpoint: str | None = None,
        **config: Any,
    ) -> Any:
        return boto3.session.Session().client(
            service,
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret,
            aws_session_token=token,
            region_name="us-east-1",
            config=Config(**{"signature_version": "s3v4", "retries": {"total_max_attempts": 1}, **config}),
        )

    def node_client(self) -> Any:
        return self.client_of(self.minio.access_key, self.minio.secret_key, endpoint=self.minio.endpoint)

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


def _is_ready(endpoint: str, certificate: str | None) -> bool:
    if certificate is None:
        return servers.http_status(endpoint, "/-/ready") == 200
    try:
        context = ssl.create_default_context(cafile=certificate)
        with urlopen(f"{endpoint}/-/ready", context=context, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def running_proxy(
    settings: LiveSettings,
    port: int,
    log: Path,
    *,
    workers: int = 1,
    module: str = "proxy",
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """A proxy on loopback that is ready, on the realm of `settings`; `module` runs it."""
    certificate = environment.get("WIO_TLS_CERT")
    endpoint = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    options = {"host": "127.0.0.1", "port": port, "workers": workers}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with servers.running(
        [sys.executable, "-m", module, *words],
        ready=lambda: _is_ready(endpoint, certificate),
        log=log,
        env={
            # Where the compiled modules are.
            **{name: os.environ[name] for name in ("HOME", "XDG_CACHE_HOME") if name in os.environ},
            "WIO_REDIS_URL": settings.redis_url,
            "WIO_REALM": settings.realm,
            "WIO_SECRET": settings.secret.get_secret_value(),
            "WIO_LEASE_SECONDS": str(settings.lease_seconds),
            "WIO_COMMIT_SECONDS": str(settings.commit_seconds),
            **environment,
        },
    ) as process:
        yield process


@contextmanager
def running_gate(
    minio: servers.Minio,
    valkey: servers.Valkey,
    folder: Path,
    *,
    workers: int = 1,
    module: str = "proxy",
    **environment: str,
) -> Iterator[Gate]:
    """A proxy that is ready, over a realm and a bucket of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    realm, port = f"t{new_id()}", servers.free_port()
    settings = LiveSettings(
        redis_url=valkey.url,
        realm=realm,
        secret=SECRET,
        lease_seconds=float(environment.get("WIO_LEASE_SECONDS", "2")),
        commit_seconds=float(environment.get("WIO_COMMIT_SECONDS", "2")),
    )
    scheme = "https" if "WIO_TLS_CERT" in environment else "http"
    gate = Gate(
        settings, minio, f"{scheme}://127.0.0.1:{port}", f"bucket-{realm}", port, folder / "proxy.log"
    )
    gate.node_client().create_bucket(Bucket=gate.bucket)

    async def load() -> None:
        live = await gate.live()
        async with rebuild(live, keep_counts=False, wait_for_leases=False) as building:
            await building.load(gate.changes())
        await live.aclose()

    asyncio.run(load())
    with running_proxy(settings, port, gate.log, workers=workers, module=module, **environment) as process:
        gate.process = process
        yield gate
