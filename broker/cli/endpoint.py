"""Where S3 clients reach the proxy."""

from __future__ import annotations

from broker.cli.command import Session


def endpoint_url(session: Session) -> str:
    """The proxy's URL: as the local stack or the profile says, else as the broker tells."""
    known = session.target.endpoint_url
    return known or str(session.broker.get("info")["endpoint_url"])
