"""Times as the planes keep them (integer milliseconds, UTC) and as people write them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

from broker.errors import invalid

_DURATION = re.compile(r"(?:(\d{1,5})w)?(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,8})s)?")
#: No expiry may lie further away than this; a later one is a typing error or an overflow.
FARTHEST = timedelta(days=365 * 100)


def now_ms() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def rfc3339(ms: int | None) -> str | None:
    """`2026-11-24T10:00:00Z` (milliseconds only where there are any), or None for None."""
    if ms is None:
        return None
    whole = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{ms % 1000:03d}Z" if ms % 1000 else f"{whole}Z"


def duration_ms(text: str) -> int:
    """A length of time such as `7d`, `1h30m` or `900` (seconds), in milliseconds.

    Raises ApiError (InvalidRequest) for anything else, for none at all, and beyond a century.
    """
    text = text.strip().lower()
    if text.isascii() and text.isdigit() and len(text) <= 10:
        seconds = int(text)
    else:
        match = _DURATION.fullmatch(text)
        if match is None or not any(match.groups()):
            raise invalid(f"{text[:40]!r} is no duration; write 7d, 12h, 30m or 3600s.")
        weeks, days, hours, minutes, rest = (int(group or 0) for group in match.groups())
        seconds = weeks * 604_800 + days * 86_400 + hours * 3_600 + minutes * 60 + rest
    if not 0 < seconds <= FARTHEST.total_seconds():
        raise invalid(f"The duration {text[:40]!r} must be more than nothing and at most a century.")
    return seconds * 1000


def moment_ms(text: str | None, now: int) -> int | None:
    """An expiry: a duration from `now` (ms), or an RFC 3339 time in the future; None stays None.

    Raises ApiError (InvalidRequest) when it is neither, or has passed.
    """
    if text is None:
        return None
    if "T" not in text and "t" not in text:
        return now + duration_ms(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(f"{text[:40]!r} is no RFC 3339 time.") from None
    if moment.tzinfo is None:
        raise invalid("A time needs its offset, such as Z.")
    try:
        ms = int(moment.timestamp() * 1000)
    except (OverflowError, ValueError):
        raise invalid("That time is out of range.") from None
    if not now < ms <= now + FARTHEST.total_seconds() * 1000:
        raise invalid("The expiry must lie in the future, and within a century.")
    return ms
