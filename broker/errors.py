"""What the control plane answers when it says no: one class, with S3's and AWS's code names.

A denial by policy is a value (`policy.Denied`) until the border of a service turns it into an
`ApiError`; a malfunction is an ordinary exception and becomes a 500 that shows only the request id.
"""

from __future__ import annotations


class ApiError(Exception):
    """A refusal that the client is told about.

    `code` is an S3, STS or IAM error code, `message` one sentence for people, `status` the HTTP status.
    Nothing secret may stand in the message: it is sent and logged.
    """

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def denied(message: str) -> ApiError:
    """The caller is known and may not do this."""
    return ApiError("AccessDenied", message, 403)


def not_found(what: str, name: str) -> ApiError:
    """No such thing, or none that the caller may know of."""
    return ApiError("NotFound", f"There is no {what} {name!r}, or you may not see it.", 404)


def invalid(message: str) -> ApiError:
    """The request is malformed or asks for what cannot be."""
    return ApiError("InvalidRequest", message, 400)


def conflict(message: str, code: str = "Conflict") -> ApiError:
    """The request contradicts what exists."""
    return ApiError(code, message, 409)


def not_applied() -> ApiError:
    """The change is committed in SQL, and the live state could not be reached to apply it (protocol, rule 1)."""
    return ApiError(
        "ServiceUnavailable",
        "The change is recorded and will be applied as soon as the live state answers again; "
        "it may not be in force yet.",
        503,
    )
