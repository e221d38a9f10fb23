"""How a command fails: one exception, an exit code that is a contract, and how HTTP answers map to it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell sees. Documented in docs/reference.md; never renumbered."""

    OK = 0
    #: Anything that has no code of its own, a defect included.
    FAILURE = 1
    #: The command line cannot be understood, or asks for what cannot be. Nothing was done.
    USAGE = 2
    NOT_FOUND = 3
    #: Who asks is unknown, or may not do this.
    DENIED = 4
    #: The broker is not running, unreachable, or not ready. Trying again can help.
    UNAVAILABLE = 5
    #: It contradicts what exists: a name is taken, a prefix overlaps, a workspace is not empty.
    CONFLICT = 6
    #: Stopped by Ctrl-C, as shells count it.
    INTERRUPTED = 130


class Failure(Exception):
    """A command that cannot go on. `message` is one sentence for people that says what to try."""

    def __init__(
        self, code: str, message: str, exit_code: ExitCode = ExitCode.FAILURE, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.exit_code = exit_code
        self.request_id = request_id

    def as_json(self) -> dict[str, dict[str, str | None]]:
        """The object that `--json` prints for a failure (design, section 8)."""
        return {"error": {"code": self.code, "message": self.message, "request_id": self.request_id}}


def usage(message: str) -> Failure:
    """The command line asks for what cannot be."""
    return Failure("UsageError", message, ExitCode.USAGE)


#: Answers with a status of 400 that are about who asks, not about what is asked.
_ABOUT_CALLER = frozenset(
    {"AuthorizationHeaderMalformed", "ExpiredToken", "InvalidToken", "InvalidClientTokenId", "RequestExpired"}
)


def exit_code_for(status: int, code: str = "") -> ExitCode:
    """The exit code for an HTTP status of the broker that is no success, and its error code."""
    if code in _ABOUT_CALLER:
        return ExitCode.DENIED
    match status:
        case 400 | 413 | 422:
            return ExitCode.USAGE
        case 401 | 403:
            return ExitCode.DENIED
        case 404:
            return ExitCode.NOT_FOUND
        case 409 | 412:
            return ExitCode.CONFLICT
        case 429 | 502 | 503 | 504:
            return ExitCode.UNAVAILABLE
        case _:
            return ExitCode.FAILURE
