"""Names, times, throttling, the schema, and starting up."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st

from broker.db import Database
from broker.errors import ApiError
from broker.migrate import upgrade
from broker.names import HANDLE, RESERVED, handle_from_login, numbered, parse_workspace
from broker.passwords import Throttle
from broker.schema import metadata
from broker.times import duration_ms, moment_ms, rfc3339
from broker.workspaces.places import overlap
from broker.workspaces.service import clean_prefix
from tests.broker.conftest import World
from tests.servers import clean_env


@given(st.text(max_size=80), st.integers(2, 10_000))
def test_every_login_gives_a_legal_handle(login: str, number: int) -> None:
    for handle in (handle_from_login(login), numbered(handle_from_login(login), number)):
        assert HANDLE.fullmatch(handle)
    assert handle_from_login(login) not in RESERVED


@given(st.text(max_size=30))
def test_a_workspace_argument_is_understood_or_refused(text: str) -> None:
    try:
        found = parse_workspace(text)
    except ApiError:
        return
    assert text in {found.name, f"{found.owner}.{found.name}", f"{found.owner}/{found.name}"}


@given(st.text(max_size=12))
def test_durations_are_read_or_refused(text: str) -> None:
    with suppress(ApiError):
        assert duration_ms(text) > 0


def test_moments() -> None:
    assert moment_ms("7d", 0) == 7 * 86_400_000
    assert rfc3339(moment_ms("2030-01-02T03:04:05+01:00", 0)) == "2030-01-02T02:04:05Z"
    for wrong in ("2030-01-02T03:04:05", "2001-01-01T00:00:00Z", "T", "9999-12-31T23:59:59Z"):
        with pytest.raises(ApiError):
            moment_ms(wrong, 1_800_000_000_000)


@given(
    st.lists(st.text("ab", min_size=1, max_size=2), max_size=3),
    st.lists(st.text("ab", min_size=1, max_size=2), max_size=3),
)
def test_prefixes_overlap_exactly_when_they_share_a_folder(one: list[str], other: list[str]) -> None:
    shorter = min(len(one), len(other))
    assert overlap(clean_prefix("/".join(one)), clean_prefix("/".join(other))) == (
        one[:shorter] == other[:shorter]
    )


def test_the_throttle_waits_longer_each_time_and_forgets_on_success() -> None:
    throttle = Throttle(free_tries=2)
    for _ in range(3):
        throttle.failed("k", now=0.0)
    with pytest.raises(ApiError):
        throttle.check("k", now=1.9)
    throttle.check("k", now=2.1)
    throttle.check("other", now=0.0)
    throttle.succeeded("k")
    throttle.check("k", now=0.0)


async def test_migrations_make_exactly_the_models(tmp_path: Path) -> None:
    db = Database(f"sqlite+aiosqlite:///{tmp_path}/wio.db")
    await upgrade(db)
    await upgrade(db)
    async with db.engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), metadata)
        )
    await db.aclose()
    assert differences == []


def test_a_taken_port_or_a_missing_secret_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "broker", "--port", port]
        env = clean_env(WIO_SECRET="x" * 40, WIO_DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/w.db")
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
        assert ended.returncode == 1
        assert ended.stderr.strip() == f"Cannot listen at 127.0.0.1:{port}: Address already in use."
        ended = subprocess.run(command, env=clean_env(), capture_output=True, text=True, timeout=30)
        # A wrong setting is wrong usage, as it is for the proxy and for wio.
        assert ended.returncode == 2
        assert "WIO_SECRET" in ended.stderr
        assert ended.stderr.count("\n") == 1


async def test_bodies_are_bounded_and_unknown_fields_refused(world: World) -> None:
    answer = await world.http.post("/api/v1/login", content=b"x" * (2 << 20))
    assert answer.status_code == 413
    assert answer.headers["x-request-id"] == answer.json()["error"]["request_id"]
    assert await world.admin.refused("POST", "/groups", {"name": "lab", "nmae": 1}) == (400, "InvalidRequest")
    assert (await world.http.get("/-/live")).status_code == 200
    assert b"wio_broker_requests_total" in (await world.http.get("/-/metrics")).content
    page = (await world.http.get("/api/openapi.json")).json()
    undescribed = [
        path
        for path, verbs in page["paths"].items()
        for verb in verbs.values()
        if not verb.get("description")
    ]
    assert undescribed == []


async def test_why_and_quotas_say_what_holds(world: World) -> None:
    bob = await world.user("bob")
    told = await bob.ok("GET", "/why", user="bob", action="s3:GetObject", bucket="admin.photos")
    assert told["allowed"] is False
    assert told["permission_needed"] == "read"
    assert await bob.refused("GET", "/why", user="admin", action="read", bucket="photos") == (404, "NotFound")
    limit = {"level": "user", "subject": "bob", "bytes": 10}
    assert await bob.refused("PUT", "/quotas", limit) == (403, "AccessDenied")
    await world.admin.ok("PUT", "/quotas", {"level": "user", "default": True, "bytes": 5})
    (row,) = await bob.ok("GET", "/quotas")
    assert (row["level"], row["limit_bytes"], row["used_bytes"]) == ("user", 5, 0)
    await world.admin.ok("PUT", "/quotas", limit | {"for": "1h"})
    assert (await bob.ok("GET", "/quotas"))[0]["limit_bytes"] == 10
    await world.admin.ok("PUT", "/quotas", {"level": "user", "subject": "bob", "none": True})
    assert (await bob.ok("GET", "/quotas"))[0]["limit_bytes"] == 5
    assert await bob.ok("GET", "/transfers") == []
