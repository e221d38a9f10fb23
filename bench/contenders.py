"""Who is measured: MinIO straight, nginx in front of it, versitygw in front of it, the gate in front of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sigv4
from bench import programs
from bench.load import Request
from bench.machine import family
from tests import servers
from tests.proxy.gates import KEYS, Gate, running_gate, secret_of

STRAIGHT: Final = "MinIO straight"
NGINX: Final = "nginx, pass-through"
VERSITYGW: Final = "versitygw, S3 proxy"
GATE: Final = "wio gate"

_REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to the objects. `host` is what clients sign, which a pass-through does not change."""

    name: str
    endpoint: str
    host: str
    bucket: str
    prefix: str
    access_key_id: str
    secret: str = field(repr=False)
    client: Any = field(repr=False)
    processes: dict[str, list[int]] = field(repr=False)

    def presigned(self, key: str, method: str = "GET", *, body: Path | None = None) -> Request:
        """Return a presigned request of an object."""
        return self._presigned(self._path(key), method, b"", body)

    def listing(self, prefix: str) -> Request:
        """Return a presigned listing of at most 1,000 keys."""
        prefix = sigv4.encode_component((self.prefix + prefix).encode()).decode()
        return self._presigned(
            f"/{self.bucket}".encode(), "GET", f"list-type=2&prefix={prefix}".encode(), None
        )

    def _presigned(self, path: bytes, method: str, query: bytes, body: Path | None) -> Request:
        now = sigv4.format_amz_date(time.time())
        signed = sigv4.presign(
            method, path, query, [(b"host", self.host.encode())],
            access_key_id=self.access_key_id, secret=self.secret, amz_date=now, expires=3600, region=_REGION,
        )  # fmt: skip
        headers = (("Host", self.host),) if self.host not in self.endpoint else ()
        return Request(f"{self.endpoint}{path.decode()}?{signed.decode()}", method, headers, body)

    def signed_put(self, key: str, body: Path, payload_sha256: str) -> Request:
        """Return an upload that is signed in its headers."""
        path = self._path(key)
        headers = [(b"host", self.host.encode())]
        headers += sigv4.sign(
            "PUT", path, b"", headers,
            access_key_id=self.access_key_id, secret=self.secret, region=_REGION,
            amz_date=sigv4.format_amz_date(time.time()), payload_sha256=payload_sha256,
        )  # fmt: skip
        return Request(
            self.endpoint + path.decode(),
            "PUT",
            _texts(headers),
            body,
        )

    def chunked_put(self, key: str, payload: bytes, folder: Path) -> Request:
        """Return an upload in chunks of 64 KiB that are signed each (STREAMING-AWS4-HMAC-SHA256-PAYLOAD)."""
        path = self._path(key)
        kind = sigv4.PayloadKind.STREAMING_SIGNED
        headers = [
            (b"host", self.host.encode()),
            (b"content-encoding", b"aws-chunked"),
            (b"x-amz-decoded-content-length", b"%d" % len(payload)),
        ]
        added, context = sigv4.sign_streaming(
            "PUT", path, b"", headers,
            access_key_id=self.access_key_id, secret=self.secret, region=_REGION,
            amz_date=sigv4.format_amz_date(time.time()), payload_sha256=kind.value,
        )  # fmt: skip
        body = folder / f"chunked-{key}"
        body.write_bytes(sigv4.encode_chunked(payload, context=context, chunk_size=64 * 1024))
        return Request(
            self.endpoint + path.decode(),
            "PUT",
            _texts(headers + added),
            body,
        )

    def _path(self, key: str) -> bytes:
        return f"/{self.bucket}/{self.prefix}{key}".encode()


def _texts(headers: list[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    # wrk adds a Host where it sees none of exactly that name.
    return tuple((name.decode().replace("host", "Host"), value.decode()) for name, value in headers)


@contextmanager
def contenders(
    folder: Path, storage: Path, *, module: str = "proxy", **environment: str
) -> Iterator[dict[str, Contender]]:
    """All of them, running over one MinIO, which keeps its data in `storage`."""
    with ExitStack() as stack:
        minio = stack.enter_context(servers.minio_server(storage / "minio"))
        valkey = stack.enter_context(servers.valkey_server(folder / "valkey"))
        # On one machine that is what we recommend.
        environment = {"WIO_REDIS_URL": valkey.unix_url, **environment}
        gate = stack.enter_context(running_gate(minio, valkey, folder / "gate", module=module, **environment))
        node = family(minio.process.pid)
        straight = Contender(
            STRAIGHT, minio.endpoint, minio.endpoint.removeprefix("http://"), gate.bucket, gate.prefix("photos"),
            minio.access_key, minio.secret_key, gate.node_client(), {"node": node},
        )  # fmt: skip
        endpoint, process = stack.enter_context(_nginx(folder / "nginx", straight.host))
        nginx = Contender(
            NGINX, endpoint, straight.host, gate.bucket, straight.prefix,
            minio.access_key, minio.secret_key, straight.client, {"proxy": family(process), "node": node},
        )  # fmt: skip
        endpoint, process = stack.enter_context(_versitygw(folder / "versitygw", minio))
        through = gate.client_of("versity", "secret-of-versity", endpoint=endpoint)
        through.create_bucket(Bucket="bench")
        versity = Contender(
            VERSITYGW, endpoint, endpoint.removeprefix("http://"), "bench", "",
            "versity", "secret-of-versity", through, {"proxy": family(process), "node": node},
        )  # fmt: skip
        ours = gate_contender(gate, {"redis": family(valkey.process.pid), "node": node})
        yield {one.name: one for one in (straight, nginx, versity, ours)}


def gate_contender(gate: Gate, others: dict[str, list[int]]) -> Contender:
    """A gate that runs, and the processes behind it."""
    assert gate.process is not None
    return Contender(
        GATE, gate.endpoint, gate.endpoint.removeprefix("http://"), "photos", "",
        KEYS["alice"], secret_of("alice"), gate.client(),
        {"proxy": family(gate.process.pid), **others},
    )  # fmt: skip


@contextmanager
def _nginx(folder: Path, upstream: str) -> Iterator[tuple[str, int]]:
    folder.mkdir()
    port = servers.free_port()
    settings = folder / "nginx.conf"
    settings.write_text(
        f"""
daemon off;
worker_processes auto;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  keepalive_requests 1000000;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream node {{ server {upstream}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://node;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host {upstream};
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"""
    )
    endpoint = f"http://127.0.0.1:{port}"
    with servers.running(
        [programs.find("nginx"), "-c", settings, "-e", folder / "error.log"],
        ready=lambda: servers.http_status(endpoint, "/minio/health/live") == 200,
        log=folder / "log",
    ) as process:
        yield endpoint, process.pid


@contextmanager
def _versitygw(folder: Path, minio: servers.Minio) -> Iterator[tuple[str, int]]:
    folder.mkdir()
    port = servers.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [
        programs.versitygw(), "--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive", "s3",
        "--endpoint", minio.endpoint, "--region", _REGION, "--use-path-style",
        # With them it refuses plain HTTP uploads.
        "--disable-checksum", "--disable-data-integrity-check",
    ]  # fmt: skip
    env = servers.clean_env(
        ROOT_ACCESS_KEY="versity",
        ROOT_SECRET_KEY="secret-of-versity",
        VGW_S3_ACCESS_KEY=minio.access_key,
        VGW_S3_SECRET_KEY=minio.secret_key,
        HOME=str(folder),
    )
    with servers.running(
        command,
        ready=lambda: servers.http_status(endpoint) is not None,
        log=folder / "log",
        env=env,
    ) as process:
        yield endpoint, process.pid
