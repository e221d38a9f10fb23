from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.s3.errors import BadNodeAnswer, S3Error
from proxy.s3.notification import (
    PING,
    asked_events,
    event_line,
    listen_query,
    matches,
    ping_seconds,
    rewrite_event,
)
from proxy.s3.rewrite import Names
from proxy.s3.target import Query, parse_query
from tests.proxy.s3.recorded import BUCKET, DATA, NODE_WORDS, PREFIX

NAMES = Names(BUCKET, PREFIX, "jane.photos")
LINES = (DATA / "events.jsonl").read_bytes().splitlines(keepends=True)


def query(raw: str) -> Query:
    found = parse_query(raw.encode())
    assert isinstance(found, Query)
    return found


def test_the_node_is_asked_below_the_prefix() -> None:
    sent = listen_query(
        query("events=s3:ObjectCreated:*&events=s3:ObjectRemoved:*&prefix=a&suffix=.txt&ping=5"), PREFIX
    )
    assert isinstance(sent, bytes)
    found = query(sent.decode())
    assert found.all("events") == ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
    assert (found.get("prefix"), found.get("suffix"), found.get("ping")) == (PREFIX + "a", ".txt", "5")


@pytest.mark.parametrize(
    "raw",
    [
        "events=s3:Replication:*",
        "events=",
        "events=s3:Scanner:BigPrefix",
        "events=s3:ObjectCreated:*&ping=0",
        "events=s3:ObjectCreated:*&ping=x",
        "events=s3:ObjectCreated:*&prefix=..%2F",
    ],
)
def test_what_is_not_the_workspaces_is_refused(raw: str) -> None:
    assert isinstance(listen_query(query(raw), PREFIX), S3Error)


def test_signs_of_life() -> None:
    assert rewrite_event(LINES[0], NAMES, "o") == PING
    assert rewrite_event(b"  \n", NAMES, "o") == b""
    assert ping_seconds(query("")) == 10


@pytest.mark.parametrize("line", LINES[1:])
def test_events_say_what_and_not_who_or_where(line: bytes) -> None:
    found = rewrite_event(b"   " + line, NAMES, "owner-id")
    text = found.decode()
    assert not [word for word in (*NODE_WORDS[:5], "127.0.0.1", "minioadmin", "deployment") if word in text]
    record = json.loads(found)["Records"][0]
    assert record["s3"]["object"]["key"] == "a b/é+%.txt"
    assert record["s3"]["bucket"]["name"] == "jane.photos"
    assert record["eventName"] in ("s3:ObjectCreated:Put", "s3:ObjectAccessed:Get", "s3:ObjectRemoved:Delete")
    assert record["eventTime"].startswith("2026-")


def test_sizes_and_metadata_stay() -> None:
    held = json.loads(rewrite_event(LINES[1], NAMES, "o"))["Records"][0]["s3"]["object"]
    assert held["size"] == 5
    assert held["userMetadata"]["X-Amz-Meta-A"] == "secret"


def test_neighbours_are_left_out() -> None:
    assert rewrite_event(LINES[1], Names(BUCKET, "roots/jane/phot*.x/", "p"), "o") == b""
    assert rewrite_event(LINES[1], Names("another", PREFIX, "p"), "o") == b""


def test_an_event_of_the_gates_own_reads_the_same() -> None:
    line = event_line(
        "s3:ObjectCreated:Put",
        BUCKET,
        PREFIX + "k",
        time="2026-01-01T00:00:00Z",
        owner="o",
        details={"size": 1},
    )
    assert json.loads(rewrite_event(line, NAMES, "o"))["Records"][0]["s3"]["object"] == {
        "key": "k",
        "size": 1,
    }


@pytest.mark.parametrize(
    "line", [b"x", b"[]", b'{"Records":5}', b'{"Records":[1]}', b"[" * 5000, b'"' + b"x" * 70000]
)
def test_what_is_no_event_is_a_malfunction(line: bytes) -> None:
    with pytest.raises(BadNodeAnswer):
        rewrite_event(line, NAMES, "o")


@pytest.mark.parametrize(
    ("event", "key", "expected"),
    [
        ("s3:ObjectCreated:Put", "a/x.txt", True),
        ("s3:ObjectCreated:Copy", "a/x.txt", True),
        ("s3:ObjectRemoved:Delete", "a/x.txt", False),
        ("s3:ObjectCreated:Put", "b/x.txt", False),
        ("s3:ObjectCreated:Put", "a/x.jpg", False),
    ],
)
def test_what_is_asked_for(event: str, key: str, expected: bool) -> None:
    events = asked_events(query("events=s3:ObjectCreated:*"))
    assert isinstance(events, tuple)
    assert matches(event, key, events, "a/", ".txt") is expected


@given(st.binary(max_size=200))
def test_any_line_is_an_event_or_a_malfunction(line: bytes) -> None:
    try:
        rewrite_event(line, NAMES, "o")
    except BadNodeAnswer:
        return
