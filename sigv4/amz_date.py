"""Times as SigV4 writes them: `20130524T000000Z`.

Precedent: s3s `amz_date`. Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
The caller passes the time: nothing here reads a clock.
"""

from __future__ import annotations

import calendar
import time
from email.utils import parsedate_tz
from functools import lru_cache


def parse_amz_date(text: bytes) -> int | None:
    """Seconds since the epoch, or None unless `text` is exactly `YYYYMMDD'T'HHMMSS'Z'` and a real time."""
    # The length is looked at before the cache, which must not be filled with what strangers send.
    return _parse(text) if len(text) == 16 else None


@lru_cache(maxsize=1024)
def _parse(text: bytes) -> int | None:
    if text[8] != 0x54 or text[15] != 0x5A:  # T, Z
        return None
    day, clock = text[:8], text[9:15]
    if not (day.isdigit() and clock.isdigit()):
        return None
    year, month, mday = int(day[:4]), int(day[4:6]), int(day[6:])
    hour, minute, second = int(clock[:2]), int(clock[2:4]), int(clock[4:])
    if not (year >= 1970 and 1 <= month <= 12 and hour < 24 and minute < 60 and second < 61):
        return None
    if not 1 <= mday <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, mday, hour, minute, second))


def parse_http_date(text: bytes) -> int | None:
    """Seconds since the epoch of an HTTP `Date` (RFC 9110, section 5.6.7), or None when it is not one."""
    try:
        parsed = parsedate_tz(text.decode("ascii"))
        if parsed is None or not 1970 <= parsed[0] <= 9999:
            return None
        return calendar.timegm(parsed[:9]) - (parsed[9] or 0)
    except (ValueError, IndexError, OverflowError, TypeError):
        return None


@lru_cache(maxsize=256)
def _format(seconds: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def format_amz_date(seconds: float) -> str:
    """`YYYYMMDD'T'HHMMSS'Z'` of a time in seconds since the epoch; ValueError where that has no four-digit year.

    >>> format_amz_date(1369353600)
    '20130524T000000Z'
    """
    whole = int(seconds)
    if not 0 <= whole < 253402300800:
        raise ValueError("a time between the years 1970 and 9999 is needed")
    return _format(whole)


def format_iso(seconds: float) -> str:
    """`2013-05-24T00:00:00Z`, as S3's error documents write a time (clamped to the years 1970 to 9999)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(max(int(seconds), 0), 253402300799)))
