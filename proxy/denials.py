"""The live state's denials in S3's words: one clear sentence each, that says what to do (design, section 9)."""

from __future__ import annotations

from typing import Final, assert_never

from proxy.s3.errors import Code, S3Error, error
from quota import Denial, DenialCode, Permission

_LEVEL: Final = {
    "workspace": "the workspace",
    "user": "the owner's overall",
    "user-root": "the owner's quota on this root, the user-root",
    "root": "the root's total",
    "realm": "the realm",
}

NOT_READY: Final = "The gate is not ready: its live state is being rebuilt. Try again in a moment."

UNKNOWN_KEY: Final = error(
    Code.INVALID_ACCESS_KEY_ID,
    "This access key is unknown, revoked or disabled. `wio key list` shows yours.",
)


def explain(denial: Denial, bucket: str) -> S3Error:
    """Return the error that a client gets for `denial` of something in `bucket`, a virtual name."""
    details = denial.details
    match denial.code:
        case DenialCode.NOT_READY | DenialCode.FENCED | DenialCode.GONE:
            return error(Code.SLOW_DOWN, NOT_READY)
        case DenialCode.INVALID_ACCESS_KEY:
            return UNKNOWN_KEY
        case DenialCode.EXPIRED_TOKEN:
            return error(
                Code.EXPIRED_TOKEN, "This session has expired. `wio token create` makes another one."
            )
        case DenialCode.USER_DISABLED:
            return error(Code.ACCESS_DENIED, "This user is disabled. An administrator can enable it.")
        case DenialCode.NO_SUCH_BUCKET:
            return error(Code.NO_SUCH_BUCKET)
        case DenialCode.ACCESS_DENIED:
            return error(Code.ACCESS_DENIED, _denied(bucket, *details))
        case DenialCode.COMPLETING:
            return error(Code.SLOW_DOWN, "The upload is being completed. Try again in a moment.")
        case DenialCode.DRAINING:
            return error(
                Code.OPERATION_ABORTED, "The workspace takes no writes now: it is being moved or deleted."
            )
        case DenialCode.QUOTA_EXCEEDED:
            return _quota(details)
        case DenialCode.RECOUNTING:
            return error(
                Code.SLOW_DOWN,
                f"What {_LEVEL.get(details[0], details[0])} uses is being recounted. Try again soon.",
            )
        case DenialCode.NO_SUCH_UPLOAD:
            return error(Code.NO_SUCH_UPLOAD)
        case DenialCode.INVALID_PART:
            return error(Code.INVALID_PART, None, PartNumber=details[0])
        case _:
            assert_never(denial.code)


def _denied(bucket: str, reason: str, needed: str, had: str) -> str:
    need = Permission(int(needed)).word
    match reason:
        case "unknown":
            return f"There is no workspace {bucket} that you may use. Ask its owner for a share."
        case "scope":
            return f"This credential is limited to other workspaces than {bucket}."
        case "credential":
            return (
                f"This needs {need} on {bucket}, and this credential is limited to "
                f"{Permission(int(had)).word}. Use one with a wider scope."
            )
        case _:
            return (
                f"This needs {need} on {bucket}; your share gives {Permission(int(had)).word}. "
                "Ask the workspace's owner."
            )


def _quota(details: tuple[str, ...]) -> S3Error:
    level, _unit, measure, limit, used, asked = details[:6]
    grace = len(details) > 6
    kind = "soft limit (its grace period is over)" if grace else "limit"
    return error(
        Code.QUOTA_EXCEEDED,
        f"This would exceed {_LEVEL[level]} quota: {kind} {limit} {measure}, used {used}, asked {asked}. "
        "Delete something, or ask for more (`wio quota show`).",
        Level=level,
        Measure=measure,
        Limit=limit,
        Used=used,
        Asked=asked,
    )
