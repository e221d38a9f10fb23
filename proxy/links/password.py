"""The password of a link: asked once, then remembered by a cookie that is good for this link and password alone."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from proxy.call import Headers, header
from proxy.links.link import Link
from proxy.s3.errors import S3Error
from proxy.worker import Worker
from quota import Denial
from quota.gate import GateUnavailable

COOKIE: Final = "wio_link"
#: Seconds that a cookie is good for.
COOKIE_SECONDS: Final = 12 * 3600
MAX_LENGTH: Final = 256
_REMEMBERED: Final = 1000
#: Hashing takes 64 MiB and tens of milliseconds each.
_AT_ONCE: Final = 2


class Verdict(Enum):
    """Whether somebody may pass."""

    PASS = auto()
    ASK = auto()
    WRONG = auto()


def _wait(seconds: float) -> S3Error:
    """What somebody is told who may not try a password for so long."""
    retry = ((b"retry-after", b"%d" % max(1, math.ceil(seconds))),)
    return S3Error("TooManyRequests", 429, "Too many wrong passwords. Try again later.", (), retry)


class Passwords:
    """Checks passwords of links, a bounded number of wrong ones for each link and all workers together."""

    def __init__(self, worker: Worker) -> None:
        self._gate = worker.gate
        secret = worker.settings.secret.get_secret_value().encode()
        self._key = hmac.digest(secret, b"wio link password", "sha256")
        self._is_public_https = worker.settings.public_url.lower().startswith("https:")
        self._hasher = PasswordHasher()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._good: OrderedDict[bytes, None] = OrderedDict()

    async def judge(self, link: Link, headers: Headers) -> Verdict | S3Error:
        """Judge a request by its cookie or its HTTP Basic password; an error while none may be tried.

        Raises `GateUnavailable`.
        """
        if link.password is None or self._has_cookie(link, headers):
            return Verdict.PASS
        given = _basic(header(headers, b"authorization") or b"")
        return Verdict.ASK if given is None else await self.check(link, given)

    async def check(self, link: Link, given: str) -> Verdict | S3Error:
        """Judge a password that was given, as `judge` does. Raises `GateUnavailable`."""
        stored = link.password
        if stored is None:
            return Verdict.PASS
        known = hmac.digest(self._key, f"{link.id}|{stored}|{given}".encode("utf-8", "replace"), "sha256")
        if known in self._good:
            return Verdict.PASS
        # Counted before it is tried, or many at once would all be tried.
        counted = await self._gate.count_link(link.id, "t", 1)
        if isinstance(counted, Denial):
            raise GateUnavailable("the live state is not ready")
        if not counted.is_counted:
            return _wait(counted.wait)
        if len(given) > MAX_LENGTH or not await self._verify(stored, given):
            return Verdict.WRONG
        await self._gate.count_link(link.id, "t", -1)
        self._good[known] = None
        if len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        return Verdict.PASS

    async def _verify(self, stored: str, given: str) -> bool:
        async with self._room:
            try:
                return await asyncio.to_thread(self._hasher.verify, stored, given)
            except (Argon2Error, InvalidHashError):
                return False

    def cookie(self, link: Link, path: bytes, *, scheme: str) -> bytes:
        """Return the Set-Cookie value for somebody who knew the password, and asked by `scheme`.

        It is Secure where that, or the gate's public URL, is https.
        """
        ends = int(time.time()) + COOKIE_SECONDS
        value = f"{ends}.{self._seal(link, ends)}"
        flags = "; Secure" if scheme == "https" or self._is_public_https else ""
        return (
            f"{COOKIE}={value}; Path={path.decode('ascii')}; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax{flags}"
        ).encode("ascii")

    def _has_cookie(self, link: Link, headers: Headers) -> bool:
        for value in _cookies(headers):
            ends, _, seal = value.partition(".")
            if not (ends.isascii() and ends.isdigit() and len(ends) < 12) or int(ends) < time.time():
                continue
            if hmac.compare_digest(self._seal(link, int(ends)).encode(), seal.encode("utf-8", "replace")):
                return True
        return False

    def _seal(self, link: Link, ends: int) -> str:
        told = f"{link.id}|{link.password}|{ends}".encode()
        return hmac.new(self._key, told, hashlib.sha256).hexdigest()


def _cookies(headers: Headers) -> Iterator[str]:
    """Every value of our cookie. `http.cookies` gives up at the first strange one, and takes long over some."""
    for name, value in headers:
        if name == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                found, _, told = pair.strip().partition("=")
                if found == COOKIE:
                    yield told


def _basic(value: bytes) -> str | None:
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")[2]
    except ValueError:
        return None
