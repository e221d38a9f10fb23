"""The command `python -m proxy`: its options and settings, and serving until told to stop."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_settings import SettingsError

from proxy.server.limits import ServerLimits
from proxy.settings import ProxySettings
from proxy.workers import ServeError, ServeOptions, serve
from quota.settings import wrong_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from uvicorn._types import ASGIApplication

_APP = "proxy.app:create_app"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m proxy",
        description="Serve S3 in front of the storage nodes. Every setting can be given as WIO_… in the environment.",
    )
    parser.add_argument("--host", help="address to listen on (WIO_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on, 0 for any free one (WIO_PORT)")
    parser.add_argument("--workers", type=int, help="processes, best one per core (WIO_WORKERS)")
    parser.add_argument("--tls-cert", type=Path, help="certificate chain to serve https with (WIO_TLS_CERT)")
    parser.add_argument("--tls-key", type=Path, help="its private key (WIO_TLS_KEY)")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    try:
        settings = ProxySettings(**given)
    except (ValidationError, SettingsError) as error:
        sys.stderr.write(f"{wrong_settings(error)}\n")
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    options = ServeOptions(
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        limits=replace(ServerLimits(), linger_seconds=settings.refusal_seconds),
    )
    # Imported before any worker is forked, so that they share its memory.
    create_app = _find(_APP)
    try:
        return serve(options, lambda: create_app(settings))
    except ServeError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _find(name: str) -> Callable[[ProxySettings], ASGIApplication]:
    module, _, attribute = name.partition(":")
    factory: Callable[[ProxySettings], ASGIApplication] = getattr(import_module(module), attribute)
    return factory
