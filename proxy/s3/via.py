"""Requests that come back: a node that is the gate itself, or another gate whose node is this one.

Each request to a node names the gate in `Via` (RFC 9110, section 7.6.3), after the gates that it came through, and
one that names this gate already is refused.
"""

from __future__ import annotations

import hmac
from typing import Final

from proxy.s3.errors import Code, Refusal, error

_MARK: Final = "wio-"
#: 400, not HTTP's own 508: clients try a 5xx again, and a gate that relays this one knows that nothing was stored.
LOOP: Final = error(
    Code.INVALID_REQUEST, "The storage behind this workspace leads back to this gate, which asks itself."
)


def pseudonym(secret: str, realm: str) -> str:
    """The name of a deployment in `Via`: the same for all its workers, another one's is another, and no secret."""
    return _MARK + hmac.digest(secret.encode(), b"wio via " + realm.encode(), "sha256")[:8].hex()


def pass_via(via: str, us: str | None) -> Refusal | tuple[tuple[bytes, bytes], ...]:
    """What goes on to the node of a request's `Via`, if any does: the gates in it; or `LOOP`."""
    if _MARK not in via:
        return ()
    if us is not None and us in via:
        return LOOP
    return ((b"via", via.encode("latin-1")),)
