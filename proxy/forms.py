"""Uploads by HTML forms, as far as they must be read to know who asks: the fields, and where the file begins."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sigv4
from proxy import bodies
from proxy.call import Headers
from proxy.s3.errors import Code, Refusal, error
from proxy.s3.plan import MAX_PUT_BYTES
from proxy.s3.post_form import FileBody, FormError, FormHead, boundary_of
from proxy.s3.target import Target

if TYPE_CHECKING:
    from proxy.call import Call


@dataclass(slots=True)
class Form:
    """A form whose fields have been read. `length` is the file's, in bytes; `policy` is set once its signature held."""

    presented: sigv4.PresentedForm
    fields: Mapping[str, str] = field(repr=False)
    filename: str
    length: int
    _head: FormHead
    _first: bytes
    _pieces: AsyncIterator[bytes]
    policy: sigv4.PostPolicy | None = None

    async def file(self, release: bodies.Release) -> AsyncIterator[bytes]:
        """Yield the file; its last piece only when the closing boundary has come, and after `release`.

        Raises `FormError` for a body that is not what its length and its boundaries say, `ClientGone`.
        """
        body = FileBody(self._head, self.length)
        for part in body.feed(self._first):
            yield part
        async for piece in self._pieces:
            for part in body.feed(piece):
                yield part
        last = body.end()
        await release()
        if last:
            yield last


def is_form(call: Call, target: Target) -> bool:
    """Whether this is a form that is to be authenticated by its fields: a POST to a bucket with no other signature."""
    if call.method != "POST" or target.bucket is None or target.key:
        return False
    if any(
        name.startswith("X-Amz-") or name in ("AWSAccessKeyId", "Signature") for name in target.query.by_name
    ):
        return False
    content_type = _value(call.headers, b"content-type").strip().lower()
    return content_type.startswith(b"multipart/form-data") and not _value(call.headers, b"authorization")


async def open_form(call: Call) -> Form | Refusal:
    """Read a form up to its file. Raises `SigV4Error` for fields that are no signature, and `ClientGone`."""
    if any(name.startswith(b"x-amz-") for name, _ in call.headers):
        # Nothing signs the headers of a form: what they say would be anyone's.
        return error(Code.ACCESS_DENIED, "There were headers present in the request which were not signed.")
    text = _value(call.headers, b"content-length")
    if not text.isdigit() or len(text) > 19:
        return error(Code.MISSING_CONTENT_LENGTH)
    pieces = bodies.received(call)
    try:
        head = FormHead(boundary_of(_value(call.headers, b"content-type").decode("latin-1")))
        first = None
        while first is None:
            try:
                first = head.feed(await anext(pieces))
            except StopAsyncIteration:
                return error(Code.MALFORMED_POST)
    except FormError as failure:
        return failure.refusal
    presented = sigv4.parse_form(head.fields, now=time.time(), region=call.worker.settings.region)
    length = int(text) - head.size - len(head.closing)
    if length < 0:
        return error(Code.MALFORMED_POST)
    if length > MAX_PUT_BYTES:
        return error(Code.ENTITY_TOO_LARGE, None, ProposedSize=str(length), MaxSizeAllowed=str(MAX_PUT_BYTES))
    return Form(presented, presented.fields, head.filename, length, head, first, pieces)


def _value(headers: Headers, wanted: bytes) -> bytes:
    return next((value for name, value in headers if name == wanted), b"")
