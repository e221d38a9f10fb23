"""A storage node that does what a test says, when it says it: holds back, fails, and commits late past a cut."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit


@dataclass
class Rule:
    """What happens to changes of keys that end in `suffix`. Events that are not set hold the node back there.

    A change whose client has gone is committed all the same: the node had received it.
    """

    suffix: str
    commit: threading.Event = field(default_factory=threading.Event)
    answer: threading.Event = field(default_factory=threading.Event)
    #: Set once such a change was wholly received, and once it was committed.
    received: threading.Event = field(default_factory=threading.Event)
    committed: threading.Event = field(default_factory=threading.Event)
    #: What is answered instead of success; after the commit for 5xx, without one for 4xx.
    status: int = 0


class ScriptedNode(ThreadingHTTPServer):
    """Objects in memory under whatever bucket is named. Signatures are not looked at."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.objects: dict[str, bytes] = {}
        self.rules: list[Rule] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def rule(self, suffix: str, **more: Any) -> Rule:
        """Add a rule; it holds nothing back but what is named in `hold` ("commit", "answer")."""
        hold = more.pop("hold", "")
        rule = Rule(suffix, **more)
        for event in ("commit", "answer"):
            if event not in hold:
                getattr(rule, event).set()
        self.rules.append(rule)
        return rule

    def of(self, key: str) -> Rule:
        """The rule for a key; one that lets everything pass where there is none."""
        for rule in self.rules:
            if key.endswith(rule.suffix):
                return rule
        rule = Rule("")
        rule.commit.set()
        rule.answer.set()
        return rule

    def stored(self) -> tuple[int, int]:
        """Bytes and objects."""
        with self.lock:
            return sum(map(len, self.objects.values())), len(self.objects)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedNode

    def log_message(self, *_args: Any) -> None:
        pass

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).split("/", 2)[-1]

    def _say(self, status: int, body: bytes = b"", **headers: str) -> None:
        with suppress(OSError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "content_length" not in headers:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        with self.server.lock:
            body = self.server.objects.get(self.key)
        if body is None:
            self._say(404)
        else:
            self._say(200, etag='"e"', content_length=str(len(body)))

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        prefix = query.get("prefix", [""])[0]
        with self.server.lock:
            found = sorted(
                (key, len(body)) for key, body in self.server.objects.items() if key.startswith(prefix)
            )
        items = "".join(f"<Contents><Key>{quote(k)}</Key><Size>{size}</Size></Contents>" for k, size in found)
        self._say(
            200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode()
        )

    def do_PUT(self) -> None:
        size = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(size)
        if len(body) < size:
            return
        key, objects = self.key, self.server.objects
        if key:
            self._change(key, lambda: objects.__setitem__(key, body))
        else:
            self._say(200)

    def do_DELETE(self) -> None:
        key, objects = self.key, self.server.objects
        self._change(key, lambda: objects.pop(key, None), status=204)

    def _change(self, key: str, commit: Callable[[], Any], status: int = 200) -> None:
        rule = self.server.of(key)
        rule.received.set()
        rule.commit.wait(60)
        if not 400 <= rule.status < 500:
            with self.server.lock:
                commit()
            rule.committed.set()
        rule.answer.wait(60)
        if rule.status:
            self._say(rule.status, b"<Error><Code>SlowDown</Code><Message>no</Message></Error>")
        else:
            self._say(status, etag='"e"')


@contextmanager
def scripted_node() -> Iterator[ScriptedNode]:
    """A node that listens while the block runs."""
    node = ScriptedNode()
    thread = threading.Thread(target=node.serve_forever, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        for rule in node.rules:
            rule.commit.set()
            rule.answer.set()
        node.shutdown()
        thread.join(5)
        node.server_close()
