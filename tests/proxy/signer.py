"""Requests signed by hand, in whatever form, and sent as they are."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import sigv4
from tests.proxy.wire import Reply, send


@dataclass(frozen=True)
class Signer:
    """Signs requests for one credential, in whatever form."""

    endpoint: str
    access_key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).netloc

    def headers(
        self, method: str, target: str, payload: str, *more: tuple[str, str], host: str = "", now: float = 0
    ) -> list[tuple[str, str]]:
        path, _, query = target.partition("?")
        plain = [("host", host or self.host), *more]
        added = sigv4.sign(
            method.encode(),
            path.encode(),
            query.encode(),
            [(name.encode(), value.encode()) for name, value in plain],
            access_key_id=self.access_key_id,
            secret=self.secret,
            session_token=self.token,
            amz_date=sigv4.format_amz_date(now or time.time()),
            region="us-east-1",
            payload_sha256=payload,
        )
        return [*plain, *((name.decode(), value.decode()) for name, value in added)]

    def send(
        self, method: str, target: str, body: bytes = b"", *more: tuple[str, str], **options: Any
    ) -> Reply:
        payload = options.pop("payload", None) or hashlib.sha256(body).hexdigest()
        return send(
            self.endpoint, method, target, self.headers(method, target, payload, *more, **options), body
        )

    def presigned(self, method: str, target: str, *, expires: int = 60, now: float = 0) -> str:
        query = sigv4.presign(
            method.encode(),
            target.partition("?")[0].encode(),
            target.partition("?")[2].encode(),
            [(b"host", self.host.encode())],
            access_key_id=self.access_key_id,
            secret=self.secret,
            session_token=self.token,
            amz_date=sigv4.format_amz_date(now or time.time()),
            expires=expires,
            region="us-east-1",
        )
        return f"{target.partition('?')[0]}?{query.decode()}"

    def chunked(self, target: str, body: bytes, kind: sigv4.PayloadKind, trailer: str | None = None) -> Reply:
        trailers = [f"x-amz-checksum-{trailer}"] if trailer else []
        checksum = sigv4.Checksum(trailer) if trailer else None
        if checksum is not None:
            checksum.update(body)
        values = {trailers[0]: checksum.base64()} if checksum else {}
        more = [
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", str(len(body))),
            *([("x-amz-trailer", trailers[0])] if trailers else []),
        ]
        headers = self.headers("PUT", target, kind.value, *more)
        context = None
        if kind.chunks_signed:
            presented = sigv4.parse(
                "PUT",
                target.encode(),
                b"",
                [(name.lower().encode(), value.encode()) for name, value in headers],
                now=time.time(),
                region="us-east-1",
            )
            context = presented.verify(self.secret)
        framed = sigv4.encode_chunked(body, context=context, trailers=values, chunk_size=64 * 1024)
        return send(self.endpoint, "PUT", target, headers, framed)
