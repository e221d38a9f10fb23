"""STS at the proxy's `POST /`: the signature is verified here, the broker answers (design, section 8)."""

from __future__ import annotations

import hashlib
import time
from typing import Any, Final
from urllib.parse import parse_qsl

import sigv4
from proxy.call import Answer, Call, ClientGone, Receive, Scope
from proxy.s3.errors import escape
from proxy.server import ClientDisconnected
from proxy.worker import Worker
from quota import DenialCode
from quota.calls import CallFailed
from quota.gate import GateUnavailable

_MAX_BODY: Final = 64 * 1024
_XML: Final = ((b"content-type", b"text/xml"),)
#: What needs no signature: the token itself proves who asks.
_UNSIGNED: Final = frozenset({"AssumeRoleWithWebIdentity"})


async def serve_sts(worker: Worker, scope: Scope, receive: Receive) -> None:
    """Answer one request of AWS's Query API."""
    call = Call(worker, scope, receive)
    call.operation = "STS"
    try:
        await call.answer(await _answer(call))
    except (ClientGone, ClientDisconnected):
        call.connection.abort()
    finally:
        seconds = time.perf_counter() - call.started
        worker.metrics.request(call.operation, call.status, call.code, seconds, call.bytes_in, call.bytes_out)
        worker.access_log.request(
            call.request_id, "-", call.access_key_id, "-", call.method, scope["raw_path"], call.operation,
            call.status, call.code, call.bytes_in, call.bytes_out, seconds,
        )  # fmt: skip


async def _answer(call: Call) -> Answer:
    body = await _body(call)
    if body is None:
        return _error(call, 413, "RequestEntityTooLarge", "The request has more than 64 KiB.")
    try:
        params = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        return _error(call, 400, "MalformedInput", "The body is no form.")
    access_key_id: str | None = None
    if params.get("Action") not in _UNSIGNED:
        try:
            verified = await _verify(call, body)
        except GateUnavailable:
            return _error(call, 503, "ServiceUnavailable", "The gate's live state cannot be reached now.")
        if isinstance(verified, Answer):
            return verified
        access_key_id = verified
    payload: dict[str, Any] = {
        "params": params,
        "access_key_id": access_key_id,
        "host": next((value.decode("latin-1") for name, value in call.headers if name == b"host"), ""),
        "request_id": call.request_id.decode(),
    }
    try:
        told = await call.worker.calls.call("sts", payload)
    except CallFailed:
        return _error(
            call,
            503,
            "ServiceUnavailable",
            "The broker does not answer now, and this needs it. Try again soon.",
        )
    return Answer(int(told["status"]), _XML, told["body"].encode())


async def _body(call: Call) -> bytes | None:
    parts: list[bytes] = []
    while True:
        message = await call.receive()
        if message["type"] != "http.request":
            raise ClientGone
        parts.append(message["body"])
        call.bytes_in += len(message["body"])
        if call.bytes_in > _MAX_BODY:
            return None
        if not message["more_body"]:
            return b"".join(parts)


async def _verify(call: Call, body: bytes) -> str | Answer:
    worker, scope = call.worker, call.scope
    try:
        presented = sigv4.parse(
            call.method,
            scope["raw_path"],
            scope["query_string"],
            call.headers,
            now=time.time(),
            region=worker.settings.region,
            service="sts",
        )
        credential = await worker.credentials.find(presented.access_key_id)
        if credential is None or credential.kind == "link":
            return _error(
                call, 403, "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        presented.verify(credential.secret, body_sha256=hashlib.sha256(body).hexdigest())
    except sigv4.SigV4Error as failure:
        return _error(call, failure.status, failure.code, failure.message)
    if not credential.has_token(presented.session_token):
        return _error(
            call, 403, "InvalidClientTokenId", "The security token included in the request is invalid."
        )
    call.access_key_id = credential.access_key_id
    # That it is live now is for the broker to say, whose SQL comes first; the live state says no sooner.
    found = await worker.gate.buckets(credential.access_key_id, 1)
    if not isinstance(found, tuple):
        if found.code is DenialCode.EXPIRED_TOKEN:
            return _error(call, 403, "ExpiredToken", "The security token included in the request is expired.")
        if found.code is DenialCode.NOT_READY:
            return _error(call, 503, "ServiceUnavailable", "The gate is not ready. Try again in a moment.")
        return _error(
            call, 403, "InvalidClientTokenId", "The security token included in the request is invalid."
        )
    return credential.access_key_id


def _error(call: Call, status: int, code: str, message: str) -> Answer:
    call.code = code
    kind = "Sender" if status < 500 else "Receiver"
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
        f"<Type>{kind}</Type><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
        f"<RequestId>{call.request_id.decode()}</RequestId></ErrorResponse>"
    )
    return Answer(status, _XML, body.encode())
