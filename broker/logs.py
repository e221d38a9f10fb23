"""Structured logs: JSON lines, each with its request's id; nothing secret is ever given to them."""

from __future__ import annotations

import logging
import secrets
import sys
from contextvars import ContextVar

import structlog

#: The request being served; `-` outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


def new_request_id() -> str:
    """16 upper-case hexadecimal digits, as S3 writes them."""
    return secrets.token_hex(8).upper()


def configure(level: str = "info") -> None:
    """Makes structlog write JSON lines to stderr, with level, UTC time and request id."""
    structlog.configure(
        processors=[
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper(), logging.INFO)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _add_request_id(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    event.setdefault("request_id", request_id.get())
    return event
