"""Where a Redis is and how to greet it, read from the URL forms of redis-py."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class WireAddress:
    """One Redis: TCP when `path` is `None`, else a unix socket. The password never shows in a repr."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `redis://`, `rediss://` or `unix://`, with credentials, `/DB` or `?db=DB`, and
        `ssl_ca_certs=PATH`.

        Raises `ValueError` for another scheme, for a database that is no number, and for an option that is
        not known: one that is ignored would be believed. The message never holds the URL, which may hold a
        password.
        """
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        database = options.pop("db", None)
        ca_certs = options.pop("ssl_ca_certs", None)
        if options:
            raise ValueError(f"the Redis URL has options that are not known: {', '.join(sorted(options))}")
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError("the Redis URL must begin with redis://, rediss:// or unix://")
        over_unix = parts.scheme == "unix"
        if database is None and not over_unix:
            database = parts.path.strip("/") or None
        if database is not None and not (database.isascii() and database.isdigit()):
            raise ValueError("the database in the Redis URL must be a number")
        if over_unix and not parts.path:
            raise ValueError("a unix:// Redis URL must name the socket's path")
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 6379,
            path=unquote(parts.path) if over_unix else None,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            database=int(database or 0),
            tls=ssl.create_default_context(cafile=ca_certs) if parts.scheme == "rediss" else None,
        )

    @property
    def greeting(self) -> tuple[tuple[str, ...], ...]:
        """The commands that make a new connection ours: AUTH and SELECT where they are needed."""
        commands: list[tuple[str, ...]] = []
        if self.password is not None:
            commands.append(("AUTH", *((self.username,) if self.username else ()), self.password))
        if self.database:
            commands.append(("SELECT", str(self.database)))
        return tuple(commands)
