"""The broker's REST API, signed with SigV4 (service "wio"), so that the secret never travels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from broker.cli.failures import ExitCode, Failure, exit_code_for
from sigv4 import sign

#: Revokes wait for the workers' leases; nothing that the broker does takes longer than this.
READ_SECONDS = 90.0
CONNECT_SECONDS = 5.0
#: How many rows the broker gives at once.
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key as it signs; `session_token` only for sessions."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class Broker:
    """Calls of the broker's API at `url`. Every call returns parsed JSON or raises Failure.

    `keys` None sends unsigned requests (health and login only). Proxies of the environment are honoured,
    save for loopback addresses.
    """

    def __init__(
        self,
        url: str,
        keys: Keys | None,
        *,
        region: str = "us-east-1",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Failure("UsageError", f"{url!r} is no http(s) URL of a broker.", ExitCode.USAGE)
        self.url = url.rstrip("/")
        self._host = parts.netloc.rpartition("@")[2].encode()
        self._path = parts.path.rstrip("/")
        self._keys = keys
        self._region = region
        self._http = httpx.Client(
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            trust_env=not _is_loopback(parts.hostname),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, *path: str, **query: object) -> Any:
        """`GET /api/v1/<path>`; segments and query are quoted here; query values of None are left out."""
        return self.call("GET", path, query)

    def rows(self, *path: str, by: str, **query: object) -> list[dict[str, Any]]:
        """All rows of a list that goes by the field `by`, page after page."""
        rows: list[dict[str, Any]] = []
        after = None
        while True:
            page = self.get(*path, limit=PAGE, after=after, **query)
            rows += page
            if len(page) < PAGE:
                return rows
            after = page[-1][by]

    def post(self, *path: str, body: Mapping[str, object] | None = None, **query: object) -> Any:
        """`POST` with a JSON body; fields of None are left out."""
        return self.call("POST", path, query, body or {})

    def put(self, *path: str, body: Mapping[str, object] | None = None) -> Any:
        """`PUT` with a JSON body; fields of None are left out."""
        return self.call("PUT", path, {}, body or {})

    def patch(self, *path: str, body: Mapping[str, object]) -> Any:
        """`PATCH` with a JSON body; fields of None are left out."""
        return self.call("PATCH", path, {}, body)

    def delete(self, *path: str, **query: object) -> Any:
        """`DELETE`; the answer says what ended with it."""
        return self.call("DELETE", path, query)

    def login(self, username: str, password: str, name: str | None) -> dict[str, Any]:
        """A new key for a person, by username and password: the only call that sends a secret."""
        body = {"username": username, "password": password, "name": name}
        answer: dict[str, Any] = self.call("POST", ("login",), {}, body)
        return answer

    def call(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, object],
        body: Mapping[str, object] | None = None,
    ) -> Any:
        """One call. Raises Failure with the broker's own code, message and request id."""
        raw_path = self._path + "/api/v1/" + "/".join(quote(part, safe="") for part in path)
        raw_query = "&".join(
            f"{quote(name, safe='')}={quote(_text(value), safe='')}"
            for name, value in sorted(query.items())
            if value is not None
        )
        payload = b""
        headers = [(b"host", self._host)]
        if body is not None:
            payload = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
            headers.append((b"content-type", b"application/json"))
        response = self._send(method, raw_path, raw_query, headers, payload)
        if response.status_code == 204 or (response.is_success and not response.content):
            return {}
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.is_success and answer is not None:
            return answer
        raise _failure(response, answer)

    def health(self, path: str) -> httpx.Response:
        """The answer to an unsigned GET, such as `/-/ready`, whatever its status."""
        return self._send("GET", self._path + path, "", [(b"host", self._host)], b"", signed=False)

    def _send(
        self,
        method: str,
        raw_path: str,
        raw_query: str,
        headers: list[tuple[bytes, bytes]],
        payload: bytes,
        *,
        signed: bool = True,
    ) -> httpx.Response:
        if self._keys is not None and signed:
            headers += sign(
                method,
                raw_path.encode(),
                raw_query.encode(),
                headers,
                access_key_id=self._keys.access_key_id,
                secret=self._keys.secret_access_key,
                session_token=self._keys.session_token,
                amz_date=datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
                region=self._region,
                service="wio",
                payload_sha256=hashlib.sha256(payload).hexdigest(),
            )
        target = raw_path + (f"?{raw_query}" if raw_query else "")
        # The target goes out byte for byte as it was signed; httpx would quote it once more its own way.
        request = self._http.build_request(
            method, self.url, headers=headers, content=payload or None, extensions={"target": target.encode()}
        )
        try:
            return self._http.send(request)
        except httpx.TransportError as error:
            raise Failure(
                "ServiceUnavailable",
                f"No broker answers at {self.url} ({type(error).__name__}). Is it running? `wio up` starts one.",
                ExitCode.UNAVAILABLE,
            ) from error


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _failure(response: httpx.Response, answer: Any) -> Failure:
    said = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(said, dict):
        said = {}
    request_id = said.get("request_id") or response.headers.get("x-amz-request-id")
    message = str(said.get("message") or f"The broker answered {response.status_code} without a reason.")
    code = str(said.get("code") or f"HTTP{response.status_code}")
    return Failure(code, message, exit_code_for(response.status_code, code), request_id)
