"""The two services on real Redis and SQL: each goes on without the other, and a lost Redis is built anew."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from broker.stack.child import wait_until
from broker.stack.parts import module_command
from tests.e2e.newcomer import error_of, programs
from tests.servers import Minio, clean_env, find_program, free_port, http_status, running
from tests.stack.ups import ROOT

SECRET = "d" * 40
ADMIN = {"access_key_id": "WIOA" + "P" * 16, "secret_access_key": "p" * 40}


@dataclass(slots=True)
class Site:
    """A deployment of `wio serve broker` and `wio serve proxy`, with a Redis and a MinIO of its own."""

    folder: Path
    redis_port: int
    s3_port: int
    broker_port: int

    @property
    def settings(self) -> dict[str, str]:
        """The environment of both services, debug logs included."""
        return clean_env(
            PYTHONPATH=str(ROOT),
            HOME=str(self.folder),
            WIO_SECRET=SECRET,
            WIO_REDIS_URL=f"redis://127.0.0.1:{self.redis_port}/0",
            WIO_DATABASE_URL=f"sqlite+aiosqlite:///{self.folder}/wio.db",
            WIO_ALLOWED_NETWORKS="127.0.0.0/8",
            WIO_LEASE_SECONDS="2",
            WIO_LOG_LEVEL="debug",
        )

    @property
    def endpoint(self) -> str:
        """The proxy's URL."""
        return f"http://127.0.0.1:{self.s3_port}"

    @contextmanager
    def redis(self) -> Iterator[None]:
        """A redis-server that keeps nothing: whenever it starts it is empty."""
        command = [
            find_program("redis-server"),
            "--port",
            str(self.redis_port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]
        with running(
            command,
            ready=lambda: (
                http_status(f"http://127.0.0.1:{self.redis_port}") is None and _listens(self.redis_port)
            ),
            log=self.folder / "redis.log",
        ):
            yield

    @contextmanager
    def serve(self, which: str, port: int, *, ready: bool = True) -> Iterator[subprocess.Popen[bytes]]:
        """One service; enters when it is ready, or just answers."""
        url = f"http://127.0.0.1:{port}"
        words = ["--workers", "2"] if which == "proxy" else []
        with running(
            [self.folder / "bin" / "wio", "serve", which, *words],
            ready=lambda: http_status(url, "/-/ready" if ready else "/-/live") == 200,
            log=self.folder / f"{which}.log",
            env=self.settings | {"WIO_PORT": str(port)},
            seconds=60,
        ) as process:
            yield process

    def client(self, service: str = "s3", attempts: int = 1) -> Any:
        """boto3 as the admin."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ADMIN["access_key_id"],
            aws_secret_access_key=ADMIN["secret_access_key"],
            config=Config(retries={"total_max_attempts": attempts}, read_timeout=30),
        )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def site(minio: Minio, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A deployment that is set up: an admin, a node, a root. Nothing of it runs but MinIO."""
    folder = tmp_path_factory.mktemp("site")
    programs(folder / "bin")
    made = Site(folder, free_port(), free_port(), free_port())
    wanted = {
        "admin": {"username": "admin", "password": "a good password", **ADMIN},
        "node": {
            "name": "local",
            "endpoint": minio.endpoint,
            "region": "us-east-1",
            "access_key_id": minio.access_key,
            "secret_access_key": minio.secret_key,
        },
        "root": {
            "name": "local",
            "bucket": "planes",
            "kind": "private",
            "default": True,
            "create": "everyone",
        },
    }
    subprocess.run(
        module_command("broker.bootstrap"),
        input=json.dumps(wanted).encode(),
        env=made.settings,
        cwd=folder,
        check=True,
        timeout=60,
    )
    return made


def test_the_proxy_serves_while_the_broker_is_down(site: Site) -> None:
    with ExitStack() as up, site.redis():
        with site.serve("broker", site.broker_port):
            up.enter_context(site.serve("proxy", site.s3_port))
            s3 = site.client()
            s3.create_bucket(Bucket="lasting")
            s3.put_object(Bucket="lasting", Key="a", Body=b"before")
        assert s3.get_object(Bucket="lasting", Key="a")["Body"].read() == b"before"
        s3.put_object(Bucket="lasting", Key="b", Body=b"while it is down")
        assert [row["Key"] for row in s3.list_objects_v2(Bucket="lasting")["Contents"]] == ["a", "b"]
        assert error_of(s3.get_object, Bucket="never-made", Key="x")[0] in (403, 404)
        calls = [
            partial(s3.create_bucket, Bucket="not-now"),
            partial(s3.delete_bucket, Bucket="lasting"),
            site.client("sts").get_session_token,
        ]
        with ThreadPoolExecutor() as pool:  # each waits for the broker as long as the proxy does
            for status, code, message in pool.map(error_of, calls):
                assert status == 503, (code, message)
                assert "broker" in message
        assert http_status(site.endpoint, "/-/ready") == 200
        with site.serve("broker", site.broker_port):
            site.client(attempts=5).create_bucket(Bucket="now-again")
            assert site.client("sts").get_session_token()["Credentials"]["SessionToken"]
            s3.delete_bucket(Bucket="now-again")


def test_a_redis_that_comes_back_empty_is_built_anew(site: Site) -> None:
    """Given both services, if Redis dies, requests are 503; when it comes back empty, all works again by itself."""
    with ExitStack() as up:
        with site.redis():
            up.enter_context(site.serve("broker", site.broker_port))
            up.enter_context(site.serve("proxy", site.s3_port))
            s3 = site.client()
            wait_until(lambda: _status(s3, "HEAD") == 200, time.monotonic() + 30)
            s3.create_bucket(Bucket="rebuilt")
            s3.put_object(Bucket="rebuilt", Key="kept", Body=b"kept")
        began = time.monotonic()
        status, code, _ = error_of(s3.get_object, Bucket="rebuilt", Key="kept")
        assert (status, code) == (503, "SlowDown")
        assert time.monotonic() - began < 5
        assert http_status(site.endpoint, "/-/live") == 200
        assert http_status(f"http://127.0.0.1:{site.broker_port}", "/-/live") == 200
        up.enter_context(site.redis())
        seen: list[int] = []

        def back() -> bool:
            seen.append(_status(s3, "GET"))
            return seen[-1] == 200

        assert wait_until(back, time.monotonic() + 40), seen
        assert set(seen) <= {200, 503}, seen
        assert s3.get_object(Bucket="rebuilt", Key="kept")["Body"].read() == b"kept"
        site.client(attempts=5).put_object(Bucket="rebuilt", Key="new", Body=b"new")
        assert http_status(f"http://127.0.0.1:{site.broker_port}", "/-/ready") == 200


def test_the_services_log_no_secret(site: Site, minio: Minio) -> None:
    """Given debug logs of all of the above."""
    for which in ("broker", "proxy"):
        log = (site.folder / f"{which}.log").read_text(errors="replace")
        assert log
        for secret in (SECRET, ADMIN["secret_access_key"], "a good password", minio.secret_key, "Signature="):
            assert secret not in log


def _status(s3: Any, method: str) -> int:
    try:
        if method == "HEAD":
            s3.list_buckets()
        else:
            s3.get_object(Bucket="rebuilt", Key="kept")["Body"].read()
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return 200
