"""The node that stands in for MinIO where two workers are measured."""

from __future__ import annotations

import asyncio

from bench.recorded import RecordedNode


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


def test_each_request_gets_one_answer_however_it_arrives() -> None:
    node, transport = RecordedNode(b"the answer"), _Transport()
    node.connection_made(transport)
    for piece, answered in (
        (b"GET / HTTP/1.1\r\nHost: a\r", 0),
        (b"\n\r\n", 1),
        (b"GET /\r\n\r\nGET /\r\n\r\n", 3),
    ):
        node.data_received(piece)
        assert transport.written == [b"the answer"] * answered
