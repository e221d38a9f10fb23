"""Requests put together by hand, and sent as they are: what no SDK would send, or not in this way."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lxml import etree


@dataclass(frozen=True)
class Reply:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def code(self) -> str:
        """The code of an S3 error, '' when there is none."""
        return self.find("Code")

    def find(self, name: str) -> str:
        """The text of the first element called `name`, in any namespace; '' when the body is no XML with it."""
        try:
            root = etree.fromstring(self.body)
        except etree.XMLSyntaxError:
            return ""
        found = root.xpath(f"//*[local-name()='{name}']")
        return (found[0].text or "") if found else ""


def send(
    endpoint: str,
    method: str,
    target: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes | Iterable[bytes] = b"",
    *,
    timeout: float = 20.0,
) -> Reply:
    """Send one request on a connection of its own; nothing is added but Host and, for bytes, Content-Length."""
    parts = urlsplit(endpoint)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in pairs}
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        if "host" not in names:
            connection.putheader("Host", parts.netloc)
        for name, value in pairs:
            connection.putheader(name, value)
        is_sized = names.isdisjoint({"content-length", "transfer-encoding"}) and isinstance(body, bytes)
        if is_sized and (body or method in ("PUT", "POST")):
            connection.putheader("Content-Length", str(len(body) if isinstance(body, bytes) else 0))
        connection.endheaders()
        for piece in [body] if isinstance(body, bytes) else body:
            if piece:
                connection.send(piece)
        answer = connection.getresponse()
        content = answer.read()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)
    finally:
        connection.close()
