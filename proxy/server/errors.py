"""What an application meets when it sends to nobody."""


class ClientDisconnected(OSError):
    """Raised by `send` when there is nobody left to send to (ASGI 2.4)."""
