"""Signed requests to a real MinIO, byte by byte as they are given."""

from __future__ import annotations

import hashlib
import http.client
import time

from sigv4 import sign
from sigv4.amz_date import format_amz_date
from tests.servers import Minio


def ask(
    minio: Minio, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers (lower-case names) and body of one request; `target` is the raw path and query."""
    host = minio.endpoint.removeprefix("http://")
    path, _, query = target.partition("?")
    digest = hashlib.sha256(body).hexdigest()
    sent = [(b"host", host.encode()), *((n.encode(), v.encode()) for n, v in (headers or {}).items())]
    added = sign(
        method,
        path.encode(),
        query.encode(),
        sent,
        access_key_id=minio.access_key,
        secret=minio.secret_key,
        amz_date=format_amz_date(time.time()),
        region="us-east-1",
        payload_sha256=digest,
    )
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in dict([*sent, *added]).items():
            connection.putheader(name.decode(), value.decode())
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.getheaders()]
        return answer.status, pairs, answer.read()
    finally:
        connection.close()
