"""A bucket behind `sigv4` alone: enough S3 for clients to talk to, on a real socket.

It verifies every request and takes aws-chunked bodies apart, and remembers what it refused, so that a test can
say of any client: whatever it sent was verified.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import sigv4

AKID = "WIOATESTTESTTESTTEST"
SECRET = "s3cr3ts3cr3ts3cr3ts3cr3ts3cr3ts3cr3ts3cr"


@dataclass
class Bucket:
    """What came in: `objects` by path, `kinds` of payload seen, `refused` errors."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    kinds: set[sigv4.PayloadKind] = field(default_factory=set)
    refused: list[sigv4.SigV4Error] = field(default_factory=list)


def receive(
    method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes, *, now: float
) -> tuple[sigv4.Presented, bytes]:
    """Verify a whole request as a server would; its payload. Raises SigV4Error."""
    path, _, query = target.partition("?")
    presented = sigv4.parse(
        method, path.encode("latin-1"), query.encode("latin-1"), headers, now=now, region="us-east-1"
    )
    context = presented.verify(SECRET)
    if presented.payload_sha256 is not None:
        hasher = sigv4.PayloadHasher(presented.payload_sha256)
        hasher.update(body)
        hasher.verify()
    if presented.decoded_length is None:
        return presented, body
    decoder = presented.chunk_decoder(context)
    pieces = [bytes(p) for i in range(0, len(body), 60_000) for p in decoder.feed(body[i : i + 60_000])]
    return presented, b"".join([*pieces, *decoder.finish()])


@contextmanager
def verifier() -> Iterator[Bucket]:
    """The server, on a free loopback port, until the block ends."""
    bucket = Bucket()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in self.headers.items()]
            body = self.read_body()
            # The client's own line: `self.path` has leading slashes folded.
            target = self.requestline.split(" ")[1]
            try:
                presented, payload = receive(self.command, target, headers, body, now=time.time())
            except sigv4.SigV4Error as error:
                bucket.refused.append(error)
                self.reply(error.status, f"<Error><Code>{error.code}</Code></Error>".encode())
                return
            bucket.kinds.add(presented.payload)
            self.answer(presented, payload)

        def read_body(self) -> bytes:
            # mc sends an empty file as aws-chunked inside HTTP's own chunks, without a length.
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def answer(self, presented: sigv4.Presented, payload: bytes) -> None:
            path = sigv4.decode_component(presented.path).decode()
            names = {name for name, _ in presented.query}
            if b"location" in names:
                self.reply(200, b"<LocationConstraint/>")
            elif self.command == "PUT":
                bucket.objects[path] = payload
                self.reply(200, b"", etag=hashlib.md5(payload).hexdigest())
            elif path in bucket.objects:
                stored = bucket.objects[path]
                self.reply(200, stored, etag=hashlib.md5(stored).hexdigest())
            elif path.count("/") == 1 or path.endswith("/"):
                self.reply(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
            else:
                self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def reply(self, status: int, body: bytes, *, etag: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", self.date_time_string())
            if etag is not None:
                self.send_header("ETag", f'"{etag}"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        bucket.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield bucket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
