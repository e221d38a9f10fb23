"""Both planes at once: a broker, a real proxy process, MinIO and Redis. What one decides holds in the other."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import redis.asyncio as redis_client
from botocore.config import Config
from botocore.exceptions import ClientError

from broker.settings import Settings
from broker.stack.binaries import valkey_server
from tests import servers
from tests.broker.conftest import Client, Start, World
from tests.proxy.flows import ALLOWANCE, Download

SIZE = 24 << 20
LEASE = 2.0


class Planes:
    """A broker with a proxy of two workers; Alice owns `photos` with the object `big`, Bob is known."""

    def __init__(self, world: World, endpoint: str) -> None:
        self.world = world
        self.endpoint = endpoint
        self.alice: Client
        self.bob: Client

    def s3(self, who: Client) -> Any:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=who.access_key_id,
            aws_secret_access_key=who.secret,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )

    async def download(self, who: Client, bucket: str = "alice.photos") -> Download:
        url = self.s3(who).generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "big"})
        flow = Download(url)
        flow.start()
        await asyncio.to_thread(flow.wait_moving)
        return flow

    async def allowed(self, who: Client, bucket: str) -> bool:
        try:
            await asyncio.to_thread(self.s3(who).head_bucket, Bucket=bucket)
        except ClientError:
            return False
        return True

    async def share(self, permission: str = "read", principal: str = "bob", **more: Any) -> dict[str, Any]:
        body = {"workspace": "photos", "principal": principal, "permission": permission, **more}
        made: dict[str, Any] = await self.alice.ok("POST", "/shares", body)
        return made


@asynccontextmanager
async def planes(
    start: Start, settings: Settings, minio: servers.Minio, folder: Path, redis_url: str, **changed: Any
) -> AsyncIterator[Planes]:
    port = servers.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    changed |= {"lease_seconds": LEASE, "commit_seconds": 1.0, "public_url": endpoint}
    async with start(minio, redis_url=redis_url, **changed) as world:
        running = servers.running(
            [sys.executable, "-m", "proxy", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"],
            ready=lambda: servers.http_status(endpoint, "/-/ready") == 200,
            log=folder / "proxy.log",
            env=servers.clean_env(
                WIO_REDIS_URL=redis_url,
                WIO_REALM=settings.realm,
                WIO_SECRET=settings.secret.get_secret_value(),
                WIO_LEASE_SECONDS=str(LEASE),
                WIO_COMMIT_SECONDS="1",
            ),
        )
        # In another thread: while it waits, the broker must go on.
        await asyncio.to_thread(running.__enter__)
        try:
            both = Planes(world, endpoint)
            both.alice, both.bob = await world.user("alice"), await world.user("bob")
            await both.alice.ok("POST", "/workspaces", {"name": "photos"})
            await asyncio.to_thread(
                both.s3(both.alice).put_object, Bucket="photos", Key="big", Body=os.urandom(SIZE)
            )
            yield both
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


@pytest.fixture
async def both(
    start: Start, settings: Settings, minio: servers.Minio, valkey: servers.Valkey, tmp_path: Path
) -> AsyncIterator[Planes]:
    async with planes(start, settings, minio, tmp_path, valkey.url) as running:
        yield running


async def until(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await holds()):
            await asyncio.sleep(0.05)
    return found


async def test_a_share_is_revoked_under_a_download(both: Planes) -> None:
    share = await both.share()
    flow = await both.download(both.bob)
    running = await both.alice.ok("GET", "/transfers")
    (told,) = [one for one in running if one["operation"] == "GetObject"]
    assert told["direction"] == "download"
    assert told["key"] == "big"
    assert told["bytes"] > 0
    assert told["bytes_per_second"] > 0
    assert told["shares"] == [share["id"]]

    preview = await both.alice.ok("DELETE", f"/shares/{share['id']}", dry_run="true")
    assert preview["transfers_cut"] == 1
    assert preview["revoked"] == [share["id"]]
    assert not flow.ended
    done = await both.alice.ok("DELETE", f"/shares/{share['id']}")
    before = flow.moved
    assert (done["transfers_cut"], done["workers_unreachable"]) == (1, 0)
    assert done["seconds"] < LEASE
    assert await asyncio.to_thread(flow.wait_end) == "cut"
    assert flow.moved - before <= ALLOWANCE
    assert not await both.allowed(both.bob, "alice.photos")

    async def rows() -> list[dict[str, Any]]:
        return [row for row in await both.alice.ok("GET", "/audit") if row["action"] == "transfer.cut"]

    (row,) = await until(rows)
    assert row["user"] == "bob"
    assert row["credential"] == both.bob.access_key_id
    assert row["detail"]["key"] == "big"
    assert row["detail"]["shares"] == [share["id"]]
    assert (await both.world.admin.ok("GET", "/audit/verify"))["ok"]


async def test_denials_are_rows_for_owners_and_a_storm_is_a_few(both: Planes) -> None:
    await both.share("read")
    s3 = both.s3(both.bob)

    def storm() -> None:
        for i in range(60):
            with pytest.raises(ClientError):
                s3.put_object(Bucket="alice.photos", Key=f"k{i}", Body=b"x")

    await asyncio.to_thread(storm)
    await both.world.admin.ok(
        "PUT", "/quotas", {"level": "workspace", "subject": "alice/photos", "bytes": SIZE + 10}
    )
    with pytest.raises(ClientError, match="QuotaExceeded"):
        await asyncio.to_thread(both.s3(both.alice).put_object, Bucket="photos", Key="more", Body=b"x" * 5000)

    async def rows() -> list[dict[str, Any]]:
        found = await both.alice.ok("GET", "/audit", workspace="photos")
        return found if any(row["action"] == "denied.quota" for row in found) else []

    seen = await until(rows)
    denied = [row for row in seen if row["action"] == "denied.share"]
    # Two workers, so many a minute each.
    assert 1 <= len(denied) <= 40
    assert all(row["user"] == "bob" and row["detail"]["bucket"] == "alice.photos" for row in denied)
    assert not [row for row in await both.bob.ok("GET", "/audit") if row["action"] == "denied.quota"]
    assert (await both.world.admin.ok("GET", "/audit/verify"))["ok"]


async def test_why_says_what_admit_would(both: Planes) -> None:
    async def why(action: str, user: str = "bob") -> dict[str, Any]:
        told: dict[str, Any] = await both.alice.ok(
            "GET", "/why", user=user, action=action, bucket="alice.photos"
        )
        assert set(told) == {
            "allowed", "reason", "permission_needed", "share", "credential", "limit", "expires_at",
        }  # fmt: skip
        return told

    assert not (await why("read"))["allowed"]
    share = await both.share("read", expires="1h")
    told = await why("GetObject")
    assert (told["allowed"], told["share"], told["permission_needed"]) == (True, share["id"], "read")
    assert told["expires_at"] == share["expires_at"]
    assert not (await why("write"))["allowed"]
    assert (await why("s3:PutObject"))["permission_needed"] == "readwrite"
    assert (await why("share", "alice"))["allowed"]
    await both.world.admin.ok("PUT", "/quotas", {"level": "workspace", "subject": "alice/photos", "bytes": 1})
    full = await why("write", "alice")
    assert not full["allowed"]
    assert full["limit"]["level"] == "workspace"
    await both.world.admin.ok("POST", "/users/bob/disable")
    assert "disabled" in (await why("read"))["reason"]


async def test_links_are_made_counted_and_killed(both: Planes) -> None:
    body = {
        "workspace": "photos",
        "key": "big",
        "name": "for the printer",
        "max_downloads": 2,
        "expires": "7d",
    }
    link = await both.alice.ok("POST", "/links", body)
    other = await both.alice.ok("POST", "/links", {"workspace": "photos", "key": ""})
    assert link["url"].startswith(both.endpoint + "/-/l/")
    async with httpx.AsyncClient(trust_env=False) as http:
        got = await http.get(link["url"])
        assert (got.status_code, len(got.content)) == (200, SIZE)

        async def counted() -> Any:
            listed = {one["id"]: one for one in await both.alice.ok("GET", "/links")}
            return listed[link["id"]]["downloads"] == 1 and listed[link["id"]]["max_downloads"] == 2

        await until(counted)
        ended = await both.alice.ok("DELETE", f"/links/{link['id']}")
        assert ended["revoked"] == [link["id"]]
        assert (await http.get(link["url"])).status_code == 404
        page = await http.get(other["url"], headers={"accept": "text/html"}, follow_redirects=True)
        assert page.status_code == 200
        assert "./big" in page.text
        # A link lives as long as its maker may share.
        await both.world.admin.ok("POST", "/users/alice/disable")
        assert (await http.get(other["url"])).status_code == 404


async def test_a_users_own_presigned_urls_die_with_the_key(both: Planes) -> None:
    made = await both.alice.ok("POST", "/keys", {"name": "for links"})
    spare = Client(both.world.http, made["access_key_id"], made["secret_access_key"])
    flow = await both.download(spare, "photos")
    done = await both.alice.ok("DELETE", f"/keys/{made['access_key_id']}")
    assert done["transfers_cut"] == 1
    assert await asyncio.to_thread(flow.wait_end) == "cut"
    url = both.s3(spare).generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "big"})
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(url)).status_code == 403


# Redis that fails over, and Redis that comes back as it once was.


class Forwarder:
    """One address for whichever Redis is the primary now."""

    def __init__(self, target: int) -> None:

        self.target = target
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:

        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=2)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with source:
            with suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
            with suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)

    def turn(self, target: int) -> None:
        self.target = target
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def close(self) -> None:
        self.turn(self.target)
        self._listener.close()


@contextmanager
def redis(folder: Path, *options: str) -> Iterator[tuple[int, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    port = servers.free_port()
    command: list[str | Path] = [valkey_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--dir", str(folder), "--repl-diskless-sync-delay", "0", *options]
    with servers.running(
        command, ready=lambda: servers._answers_ping(port), log=folder / "redis.log"
    ) as process:
        yield port, process


async def command(port: int, *words: str) -> Any:
    async with redis_client.Redis(port=port) as connection:
        return await connection.execute_command(*words)  # type: ignore[no-untyped-call]


async def test_a_revoke_survives_a_failover_that_lost_it(
    start: Start, settings: Settings, minio: servers.Minio, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        primary, process = stack.enter_context(redis(tmp_path / "primary"))
        replica, second = stack.enter_context(
            redis(tmp_path / "replica", "--replicaof", f"127.0.0.1 {primary}")
        )
        front = Forwarder(primary)
        stack.callback(front.close)
        async with planes(start, settings, minio, tmp_path, f"redis://127.0.0.1:{front.port}/0") as both:
            share = await both.share()

            async def copied() -> Any:
                info = await command(replica, "INFO", "replication")
                at = await command(primary, "INFO", "replication")
                return (
                    info["master_link_status"] == "up"
                    and info["slave_repl_offset"] >= at["master_repl_offset"] - 2000
                )

            await until(copied)
            assert await both.allowed(both.bob, "alice.photos")
            # The replica hears no more: what follows is lost with the primary.
            os.kill(second.pid, signal.SIGSTOP)
            done = await both.alice.ok("DELETE", f"/shares/{share['id']}")
            assert done["revoked"] == [share["id"]]
            process.kill()
            os.kill(second.pid, signal.SIGCONT)
            await command(replica, "REPLICAOF", "NO", "ONE")
            front.turn(replica)
            # The promoted replica still has the grant. Nothing may be admitted by it.
            admitted = []

            async def served() -> bool:
                admitted.append(await both.allowed(both.bob, "alice.photos"))
                return await both.allowed(both.alice, "photos")

            await until(served, 40)
            assert not any(admitted)
            assert not await both.allowed(both.bob, "alice.photos")


async def test_a_revoke_survives_a_redis_restored_to_before_it(
    start: Start, settings: Settings, minio: servers.Minio, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        old, process = stack.enter_context(redis(tmp_path / "old", "--dbfilename", "then.rdb"))
        front = Forwarder(old)
        stack.callback(front.close)
        async with planes(start, settings, minio, tmp_path, f"redis://127.0.0.1:{front.port}/0") as both:
            share = await both.share("readwrite")
            assert await both.allowed(both.bob, "alice.photos")
            await command(old, "SAVE")
            flow = await both.download(both.bob)
            assert (await both.alice.ok("DELETE", f"/shares/{share['id']}"))["transfers_cut"] == 1
            assert await asyncio.to_thread(flow.wait_end) == "cut"
            process.kill()
            (tmp_path / "again").mkdir()
            (tmp_path / "old" / "then.rdb").rename(tmp_path / "again" / "then.rdb")
            again, _ = stack.enter_context(redis(tmp_path / "again", "--dbfilename", "then.rdb"))
            assert await command(again, "DBSIZE") > 0
            front.turn(again)
            admitted = []

            async def served() -> bool:
                admitted.append(await both.allowed(both.bob, "alice.photos"))
                return await both.allowed(both.alice, "photos")

            await until(served, 40)
            assert not any(admitted)
            # And a revoke works as before.
            second = await both.share()
            assert await both.allowed(both.bob, "alice.photos")
            assert (await both.alice.ok("DELETE", f"/shares/{second['id']}"))["workers_unreachable"] == 0
            assert not await both.allowed(both.bob, "alice.photos")
