"""Durations, sizes and names: what is taken, what is refused before anything is sent."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.params import DURATION, EXPIRY, OBJECT, PERCENT, SIZE, WORKSPACE, human_size, seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("10GiB", 10 << 30),
        ("10gib", 10 << 30),
        ("10G", 10 << 30),
        ("10GB", 10_000_000_000),
        ("1.5KiB", 1536),
        ("0.5 MiB", 1 << 19),
        ("7B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1", "1.5", "1.5B", "10XB", "1e3", "8EiB", "9999999999999PB", "\u0661"]
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SIZE.convert(text, None, None)


@given(st.integers(0, (1 << 63) - 1))
def test_every_number_of_bytes_is_a_size(size: int) -> None:
    assert SIZE.convert(str(size), None, None) == size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7d", 604_800), ("1h30m", 5_400), ("900", 900), ("90s", 90), ("1w1d", 691_200), ("1D", 86_400)],
)
def test_durations(text: str, expected: int) -> None:
    assert seconds(DURATION.convert(text, None, None)) == expected


@pytest.mark.parametrize("text", ["", "0", "0d", "-1h", "1h2d", "1h1h", "d", "1.5h", "1y", "tomorrow", "²h"])
def test_no_durations(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


def test_an_expiry_is_a_duration_or_a_time_with_its_offset() -> None:
    assert EXPIRY.convert("7d", None, None) == "7d"
    assert EXPIRY.convert("2030-01-01T00:00:00Z", None, None) == "2030-01-01T00:00:00Z"
    for text in ("2030-01-01T00:00:00", "2030-01-01", "soon"):
        with pytest.raises(click.BadParameter):
            EXPIRY.convert(text, None, None)


def test_percentages() -> None:
    assert PERCENT.convert("80%", None, None) == PERCENT.convert("80", None, None) == 80
    for text in ("0", "101%", "80.5%", "%", "-5", "²"):
        with pytest.raises(click.BadParameter):
            PERCENT.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("photos", "photos"),
        ("photos/", "photos"),
        ("jane/photos", "jane.photos"),
        ("jane.photos/", "jane.photos"),
    ],
)
def test_workspaces(text: str, sent: str) -> None:
    assert WORKSPACE.convert(text, None, None) == sent


@pytest.mark.parametrize("text", ["", "/", "Photos", "-a", "a-", "a/b/c", "a.b.c", "a b", "../x", "a\n"])
def test_no_workspaces(text: str) -> None:
    with pytest.raises(click.BadParameter):
        WORKSPACE.convert(text, None, None)


def test_objects_keep_their_key_as_it_is() -> None:
    assert OBJECT.convert("jane.photos/a//b c/../ü", None, None) == ("jane.photos", "a//b c/../ü")
    assert OBJECT.convert("photos", None, None) == ("photos", "")
    with pytest.raises(click.BadParameter):
        OBJECT.convert("/photos/a", None, None)


def test_sizes_for_people() -> None:
    assert [human_size(n) for n in (0, 1023, 1024, 1536 << 20)] == ["0 B", "1023 B", "1.0 KiB", "1.5 GiB"]
