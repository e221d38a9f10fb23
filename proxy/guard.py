"""What must hold before a request hands bytes to any socket (protocol, rule 13), wherever on its way it is.

A request waits in many places between being admitted and its first byte to a node: for the node's definition, for the
base of its key, for a free connection. `Nodes.request` therefore asks at the last moment, for whatever task it runs in.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, Protocol

from proxy.upstream import Exchange


class Guard(Protocol):
    """A request that was admitted, as the way to the nodes sees it."""

    def before_exchange(self, exchange: Exchange) -> None:
        """Take note of an exchange of this request, before its first byte is written.

        Raises `ClientGone` when the request was cut or the lease has ended: nothing is written then.
        """


#: The guard of the request that the current task, or the task that started it, works for.
current_guard: Final[ContextVar[Guard | None]] = ContextVar("current_guard", default=None)
