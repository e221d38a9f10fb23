"""`python -m broker [--host H] [--port P]`: the control plane on its own."""

from __future__ import annotations

import argparse
import socket
import ssl
import sys

import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError

from broker.app import create_app
from broker.settings import Settings
from quota.settings import wrong_settings


def main(arguments: list[str] | None = None) -> int:
    """Serves until a signal; 1 when it cannot start, 2 for wrong settings, with one sentence on stderr."""
    try:
        settings = Settings()
    except (ValidationError, SettingsError) as error:
        _fail(wrong_settings(error))
        return 2
    parser = argparse.ArgumentParser(prog="python -m broker", description="wio gate's control plane")
    parser.add_argument("--host", default=settings.host, help="address to listen at (WIO_HOST)")
    parser.add_argument("--port", type=int, default=settings.port, help="port to listen at (WIO_PORT)")
    options = parser.parse_args(arguments)
    if problem := _certificate_problem(settings):
        return _fail(problem)
    try:
        listening = _listen(options.host, options.port)
    except OSError as error:
        return _fail(f"Cannot listen at {options.host}:{options.port}: {error.strerror or error}.")
    config = uvicorn.Config(
        create_app(settings), log_config=None, access_log=False, server_header=False, date_header=True,
        timeout_keep_alive=30, timeout_graceful_shutdown=10, h11_max_incomplete_event_size=64 * 1024,
        ssl_certfile=settings.tls_cert, ssl_keyfile=settings.tls_key,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.run(sockets=[listening])
    return 0 if server.started else 1


def _certificate_problem(settings: Settings) -> str | None:
    if settings.tls_cert is None:
        return "WIO_TLS_KEY is set without WIO_TLS_CERT." if settings.tls_key is not None else None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ValueError) as error:
        return f"The TLS certificate {settings.tls_cert} cannot be used: {getattr(error, 'strerror', None) or error}."
    return None


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def _fail(sentence: str) -> int:
    sys.stderr.write(sentence + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
