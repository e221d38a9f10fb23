"""Signed requests of any shape, sent byte by byte: what an attacker with a key of their own could send."""

from __future__ import annotations

import hashlib
import hmac
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import sigv4
from sigv4.keys import signing_key
from tests.proxy.gates import KEYS, Gate, secret_of
from tests.proxy.wire import Reply

Pairs = Iterable[tuple[str, str]]


@dataclass
class Attacker:
    """Signs as one user. `service`, `region`, `host` and `token` may be wrong on purpose."""

    gate: Gate
    user: str = "alice"
    service: str = "s3"
    region: str = "us-east-1"
    token: str | None = None
    host: str | None = None
    access_key_id: str = ""
    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        self.access_key_id = self.access_key_id or KEYS[self.user]
        self.secret = self.secret or secret_of(self.user)

    @property
    def host_header(self) -> str:
        return self.host or urlsplit(self.gate.endpoint).netloc

    def head(
        self,
        method: str,
        target: str,
        headers: Pairs = (),
        *,
        payload: str | None = None,
        body: bytes = b"",
        unsigned: Pairs = (),
        signed_target: str | None = None,
    ) -> bytes:
        """The head of a signed request; `unsigned` headers are added after signing."""
        path, _, query = (signed_target if signed_target is not None else target).partition("?")
        given = [(b"host", self.host_header.encode())]
        given += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        given += sigv4.sign(
            method, path.encode("latin-1"), query.encode("latin-1"), given,
            access_key_id=self.access_key_id, secret=self.secret, session_token=self.token,
            amz_date=sigv4.format_amz_date(time.time()), region=self.region, service=self.service,
            payload_sha256=payload or hashlib.sha256(body).hexdigest(),
        )  # fmt: skip
        given += [(name.encode(), value.encode("latin-1")) for name, value in unsigned]
        lines = [f"{method} {target} HTTP/1.1".encode("latin-1")]
        lines += [name + b": " + value for name, value in given]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def send(self, method: str, target: str, headers: Pairs = (), body: bytes = b"", **more: object) -> Reply:
        """One signed request on a connection of its own."""
        unsigned = [*more.pop("unsigned", ())]  # type: ignore[misc]
        names = {name.lower() for name, _ in [*headers, *unsigned]}
        if names.isdisjoint({"content-length", "transfer-encoding"}) and (body or method in ("PUT", "POST")):
            unsigned.append(("content-length", str(len(body))))
        head = self.head(method, target, headers, body=body, unsigned=unsigned, **more)  # type: ignore[arg-type]
        return talk(self.gate, head + body, method)

    def presign(
        self, method: str, path: str, params: Pairs = (), *, expires: int = 300, signed: Pairs = ()
    ) -> str:
        """A presigned target, with any further parameters signed along."""
        amz_date = sigv4.format_amz_date(time.time())
        scope = f"{amz_date[:8]}/{self.region}/{self.service}/aws4_request"
        headers = {"host": self.host_header, **{name.lower(): value for name, value in signed}}
        names = ";".join(sorted(headers))
        pairs = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", f"{self.access_key_id}/{scope}"),
            ("X-Amz-Date", amz_date),
            ("X-Amz-Expires", str(expires)),
            ("X-Amz-SignedHeaders", names),
            *([("X-Amz-Security-Token", self.token)] if self.token else []),
            *params,
        ]
        encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
        query = "&".join(f"{name}={value}" for name, value in encoded)
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        payload = dict(pairs).get(
            "X-Amz-Content-Sha256", headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        )
        canonical = "\n".join((method, path, query, lines, names, payload))
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n{digest}"
        key = signing_key(self.secret, amz_date[:8], self.region, self.service)
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        return f"{path}?{query}&X-Amz-Signature={signature}"


def talk(gate: Gate, data: bytes, method: str = "GET", *, seconds: float = 20.0) -> Reply:
    """Send bytes as they are, and read one answer to its end."""
    with socket.create_connection(("127.0.0.1", gate.port), timeout=seconds) as sock:
        sock.sendall(data)
        return read_reply(sock, method)


def read_reply(sock: socket.socket, method: str = "GET") -> Reply:
    """One answer from a socket; status 0 when the connection ended without one."""
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        try:
            more = sock.recv(65536)
        except ConnectionError:
            more = b""
        if not more:
            return Reply(0, {}, buffer)
        buffer += more
    head, _, body = buffer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if method != "HEAD" and status not in (204, 304):
        length = int(headers.get("content-length", "-1"))
        while length < 0 or len(body) < length:
            if length < 0 and body.endswith(b"0\r\n\r\n"):
                break
            try:
                more = sock.recv(65536)
            except (ConnectionError, TimeoutError):
                break
            if not more:
                break
            body += more
    return Reply(status, headers, body)
