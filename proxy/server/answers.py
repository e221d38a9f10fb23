"""Answers that are given without the application: to what is not HTTP, too big, too slow or too many."""

from __future__ import annotations

import http
from dataclasses import dataclass
from typing import Final

_REASONS: Final = {status.value: status.phrase for status in http.HTTPStatus}

STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n".encode("ascii") for status in range(100, 1000)
}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not handed on. `code` and `message` are the S3 error's."""

    status: int
    code: str
    message: str

    @property
    def body(self) -> bytes:
        """The S3 error as XML."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        ).encode("ascii")

    def encode(self) -> bytes:
        """Return the whole response; the connection ends with it."""
        return b"%bcontent-type: application/xml\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
            STATUS_LINES[self.status],
            len(self.body),
            self.body,
        )


class Refused(Exception):
    """Carries a refusal out of the parser's callbacks."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


BAD_REQUEST: Final = Refusal(400, "BadRequest", "The request is not valid HTTP/1.1.")
BAD_TARGET: Final = Refusal(400, "InvalidURI", "The request target is not a path.")
BAD_HOST: Final = Refusal(400, "BadRequest", "The request needs exactly one Host header.")
BAD_UPGRADE: Final = Refusal(400, "BadRequest", "A request with a body cannot switch protocols.")
BAD_CODING: Final = Refusal(501, "NotImplemented", "The only transfer coding is chunked, in HTTP/1.1.")
HEAD_TOO_LARGE: Final = Refusal(
    400, "RequestHeaderSectionTooLarge", "The request line and headers exceed the maximum allowed size."
)
TOO_SLOW: Final = Refusal(400, "RequestTimeout", "The request's head was not received within the timeout.")
TOO_MANY: Final = Refusal(503, "SlowDown", "This worker has as many connections as it can serve.")
INTERNAL_ERROR: Final = Refusal(500, "InternalError", "We encountered an internal error. Please try again.")
