"""What people may write as an argument: durations, sizes, shares of a limit, workspaces, principals."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

import click

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SIZES = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGTPE", start=1)},
    **{f"{letter}IB": 1024**power for power, letter in enumerate("KMGTPE", start=1)},
    # A bare letter is binary, as mc, restic and rclone read it.
    **{letter: 1024**power for power, letter in enumerate("KMGTPE", start=1)},
}
_NAME = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"


class Duration(click.ParamType[str]):
    """A length of time: 7d, 12h, 1h30m, 90s. Passed on as it was written."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what is no duration before anything is sent."""
        text = value.strip().lower()
        if seconds(text) is None:
            self.fail(f"{value!r} is no duration; write 7d, 12h, 30m or 90s", param, ctx)
        return text


class Expiry(Duration):
    """A duration from now, or an RFC 3339 time with its offset."""

    name = "expiry"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what is neither before anything is sent."""
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return super().convert(value, param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} needs its offset, such as 2030-01-01T00:00:00Z", param, ctx)
        return value


class NewExpiry(Expiry):
    """An expiry, or `never` to take it off."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what is neither before anything is sent."""
        return value if value == "never" else super().convert(value, param, ctx)


class Size(click.ParamType[int]):
    """A number of bytes: 10GiB, 500MB, 1048576. KB is 1000 bytes, KiB and K are 1024."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,19})(?:\.([0-9]{1,6}))?\s*([A-Z]*)", value.strip().upper())
        if match is None or match[3] not in _SIZES:
            self.fail(f"{value!r} is no size; write 10GiB, 500MB or a number of bytes", param, ctx)
        fraction = match[2] or ""
        scaled = int(match[1] + fraction) * _SIZES[match[3]]
        size: int
        size, rest = divmod(scaled, 10 ** len(fraction))
        if (fraction and match[3] in ("", "B") and rest) or size >= 1 << 63:
            self.fail(f"{value!r} is no whole number of bytes below 8 EiB", param, ctx)
        return size


class Percent(click.ParamType[int]):
    """A share of a limit: 80%, or 80."""

    name = "percent"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Percent, 1 to 100."""
        text = str(value).strip().removesuffix("%")
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100:
            self.fail(f"{value!r} is no percentage from 1% to 100%", param, ctx)
        return int(text)


class Workspace(click.ParamType[str]):
    """`name` (your own), `OWNER.name`, `OWNER/name`, or an id. Becomes the first, second or last form."""

    name = "workspace"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The workspace as the broker takes it."""
        text = value.rstrip("/")
        if not re.fullmatch(rf"(?:{_NAME}[./])?{_NAME}", text):
            self.fail(f"{value!r} is no workspace; write name, OWNER.name or OWNER/name", param, ctx)
        return text.replace("/", ".")


class ObjectPath(click.ParamType[tuple[str, str]]):
    """BUCKET/KEY, where the bucket is `name` or `OWNER.name`. Becomes a pair; the key may be empty."""

    name = "bucket/key"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Bucket and key, split at the first slash; the key's bytes stay as they are."""
        if isinstance(value, tuple):
            return value
        bucket, _, key = value.partition("/")
        if not re.fullmatch(rf"(?:{_NAME}\.)?{_NAME}", bucket):
            self.fail(f"{value!r} does not begin with a bucket; write name/KEY or OWNER.name/KEY", param, ctx)
        return bucket, key


DURATION = Duration()
EXPIRY = Expiry()
NEW_EXPIRY = NewExpiry()
SIZE = Size()
PERCENT = Percent()
WORKSPACE = Workspace()
OBJECT = ObjectPath()
PERMISSION = click.Choice(["read", "readwrite", "own"])


def seconds(text: str) -> int | None:
    """The seconds of a duration such as `1h30m` or `900`, or None when it is none (or nothing)."""
    if text.isascii() and text.isdigit():
        return int(text) or None
    parts = re.findall(r"([0-9]{1,8})([wdhms])", text)
    order = [unit for _, unit in parts]
    if "".join(number + unit for number, unit in parts) != text or order != sorted(
        set(order), key=list(_UNITS).index
    ):
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in parts) or None


def human_size(size: int | None) -> str:
    """`1.5 GiB`; a dash for None."""
    if size is None:
        return "-"
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if abs(value) < 1024 or unit == "PiB":
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def is_local_path(text: str) -> bool:
    """Whether a word can only mean a file of this machine: it begins with `/`, `.` or `~`, or is `-` or nothing."""
    return text.startswith(("/", "~", ".")) or text in ("", "-")


def joined(names: Iterable[str]) -> str:
    """`a, b and c`."""
    listed = list(names)
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
