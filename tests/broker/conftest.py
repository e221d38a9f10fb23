"""A whole control plane for each test: SQLite, a realm of its own on a real valkey-server, no network of ours."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import create_app
from broker.assemble import open_broker
from broker.bootstrap import bootstrap
from broker.context import Broker
from broker.settings import Settings
from quota import new_id
from tests.servers import Minio, Postgres, Valkey

ADMIN = {
    "username": "admin",
    "password": "correct horse",
    "access_key_id": "WIOAADMINADMINADMINA",
    "secret_access_key": "admin-secret-admin-secret-admin-secret-1",
}


class Client:
    """Calls the API as one user, by HTTP Basic."""

    def __init__(
        self, http: httpx.AsyncClient, access_key_id: str, secret: str, token: str | None = None
    ) -> None:
        self.http = http
        self.access_key_id = access_key_id
        self.secret = secret
        basic = base64.b64encode(f"{access_key_id}:{secret}".encode()).decode()
        self._headers = {"authorization": f"Basic {basic}"}
        if token is not None:
            self._headers["x-amz-security-token"] = token

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        params = {name: value for name, value in query.items() if value is not None}
        content = None if body is None else json.dumps(body)
        headers = self._headers | ({} if body is None else {"content-type": "application/json"})
        return await self.http.request(
            method, "/api/v1" + path, content=content, params=params, headers=headers
        )

    async def ok(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        answer = await self.call(method, path, body, **query)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str]:
        answer = await self.call(method, path, body, **query)
        assert not answer.is_success, (method, path, answer.text)
        error = answer.json()["error"]
        assert error["request_id"] == answer.headers["x-amz-request-id"]
        return answer.status_code, error["code"]


class World:
    """One running control plane with an admin, and users made on demand."""

    def __init__(self, app: Any, http: httpx.AsyncClient) -> None:
        self.app = app
        self.http = http
        self.admin = Client(http, ADMIN["access_key_id"], ADMIN["secret_access_key"])

    @property
    def broker(self) -> Broker:
        broker: Broker = self.app.state.broker
        return broker

    async def user(self, login: str, **fields: Any) -> Client:
        made = await self.admin.ok("POST", "/users", {"name": login, **fields})
        key = await self.admin.ok("POST", "/keys", {"user": made["name"]})
        return Client(self.http, key["access_key_id"], key["secret_access_key"])


Start = Callable[..., AbstractAsyncContextManager[World]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module with `DATABASES` runs its tests on each of them; others on SQLite alone."""
    if "database" in metafunc.fixturenames and (names := getattr(metafunc.module, "DATABASES", None)):
        metafunc.parametrize("database", names, indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/wio.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database("t" + new_id())


@pytest.fixture
def settings(valkey: Valkey, database: str) -> Settings:
    return Settings(
        redis_url=valkey.url,
        realm="t" + new_id(),
        secret="a secret of forty characters, for tests.",  # type: ignore[arg-type]
        database_url=database,
        allowed_networks="127.0.0.0/8",  # type: ignore[arg-type]
        lease_seconds=0.5,
        commit_seconds=0.5,
        monitor_seconds=0.05,
        log_level="error",
    )


@pytest.fixture
def start(settings: Settings) -> Start:
    """Starts a control plane on the test's database; again, after it ended, on the same one."""

    @asynccontextmanager
    async def started(node: Minio | None = None, **changed: Any) -> AsyncIterator[World]:
        chosen = settings.model_copy(update=changed)
        wanted: dict[str, Any] = {"admin": ADMIN}
        if node is not None:
            wanted["node"] = {
                "name": "local",
                "endpoint": node.endpoint,
                "region": "us-east-1",
                "access_key_id": node.access_key,
                "secret_access_key": node.secret_key,
            }
            wanted["root"] = {
                "name": "local",
                "bucket": "wio-" + settings.realm,
                "kind": "private",
                "default": True,
            }
        async with open_broker(chosen, deferred=True) as broker:
            await bootstrap(broker, wanted)
        app = create_app(chosen)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://broker") as http:
                async with asyncio.timeout(20):
                    while (await http.get("/-/ready")).status_code != 200:
                        await asyncio.sleep(0.01)
                yield World(app, http)

    return started


@pytest.fixture
async def world(start: Start) -> AsyncIterator[World]:
    """A control plane without nodes."""
    async with start() as running:
        yield running


@pytest.fixture
async def stored(start: Start, minio: Minio) -> AsyncIterator[World]:
    """A control plane with a MinIO and a private default root on it."""
    async with start(minio) as running:
        yield running
