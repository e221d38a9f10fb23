"""The control plane's own S3 client: few operations, pinned addresses, no redirects, bounded answers.

The hot path has its own transport; here httpx is fast enough, and the same rules hold (protocol, rule 21).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote_plus, urlsplit
from xml.sax.saxutils import escape

import httpx
from lxml import etree

from broker.errors import ApiError
from broker.nodes.models import Node
from quota import Sealer
from sigv4 import EMPTY_SHA256, encode_component, encode_path, format_amz_date, sign

MAX_ANSWER_BYTES = 16 << 20
#: The longest that one request may take, however steadily its answer drips.
MAX_SECONDS = 120.0
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)


def _parse(body: bytes) -> etree._Element:
    return etree.fromstring(
        body,
        etree.XMLParser(
            resolve_entities=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
        ),
    )


class NodeError(ApiError):
    """The node cannot be reached, or refuses. The message never holds what the node said in full."""

    def __init__(self, message: str, node_status: int = 0, node_code: str = "") -> None:
        super().__init__("NodeUnavailable", message, 502)
        self.node_status = node_status
        self.node_code = node_code


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """Status and (bounded) body of one answer."""

    status: int
    body: bytes
    length: int = 0

    def xml(self) -> etree._Element:
        """The body's root element. Raises NodeError when it is no XML."""
        try:
            return _parse(self.body)
        except etree.XMLSyntaxError:
            raise NodeError("The node's answer is not XML.") from None

    @property
    def code(self) -> str:
        """The S3 error code, or nothing."""
        try:
            return text_of(_parse(self.body), "Code")
        except (etree.XMLSyntaxError, ValueError):
            return ""


def text_of(element: etree._Element, name: str) -> str:
    """The text of the first child of that local name, or nothing."""
    for child in element:
        if etree.QName(child).localname == name:
            return child.text or ""
    return ""


def children(element: etree._Element, *names: str) -> list[etree._Element]:
    """The children of those local names, in order."""
    return [child for child in element if etree.QName(child).localname in names]


class NodeClient:
    """Requests to one node, signed as its credential, at its pinned addresses only."""

    def __init__(self, http: httpx.AsyncClient, node: Node, secret: str) -> None:
        self._http = http
        self._node = node
        self._secret = secret

    async def request(
        self,
        method: str,
        path: bytes,
        query: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        payload_sha256: str | None = None,
    ) -> NodeAnswer:
        """One signed request; `path` is already encoded. Raises NodeError when there is no usable answer."""
        parts = urlsplit(self._node.endpoint)
        raw_query = b"&".join(
            encode_component(name.encode("utf-8", "surrogateescape"))
            + b"="
            + encode_component(value.encode("utf-8", "surrogateescape"))
            for name, value in query
        )
        given = [(b"host", parts.netloc.encode())]
        given += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        digest = payload_sha256 or (hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256)
        given += sign(
            method, path, raw_query, given, access_key_id=self._node.access_key_id, secret=self._secret,
            amz_date=format_amz_date(time.time()), region=self._node.region, payload_sha256=digest,
        )  # fmt: skip
        target = path + (b"?" + raw_query if raw_query else b"")
        last: Exception | None = None
        for address in self._node.addresses:
            host = f"[{address}]" if ":" in address else address
            port = parts.port or (443 if parts.scheme == "https" else 80)
            request = self._http.build_request(
                method, f"{parts.scheme}://{host}:{port}/", content=body or None, headers=given,
                extensions={"target": target, "sni_hostname": parts.hostname or ""},
            )  # fmt: skip
            try:
                async with asyncio.timeout(MAX_SECONDS):
                    return await self._send(request)
            except TimeoutError as error:
                raise NodeError("The node took too long to answer.") from error
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                last = error
            except httpx.HTTPError as error:
                raise NodeError(f"The node broke off ({type(error).__name__}).") from error
        raise NodeError("The node cannot be reached.") from last

    async def _send(self, request: httpx.Request) -> NodeAnswer:
        response = await self._http.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise NodeError("The node's answer is too long.")
            length = response.headers.get("content-length", "0")
            return NodeAnswer(response.status_code, bytes(body), int(length) if length.isdigit() else 0)
        finally:
            await response.aclose()

    async def ok(self, what: str, answer: NodeAnswer) -> NodeAnswer:
        """The answer when it is a success; raises NodeError, with the S3 code, otherwise."""
        if 200 <= answer.status < 300:
            return answer
        code = answer.code
        raise NodeError(f"The node refuses to {what}: {answer.status} {code[:64]}", answer.status, code)

    async def list_buckets(self) -> None:
        """Proves that the node answers and knows the credential."""
        await self.ok("list buckets", await self.request("GET", b"/"))

    async def ensure_bucket(self, bucket: str) -> bool:
        """Makes the bucket if it is absent; whether it was made."""
        path = b"/" + encode_component(bucket.encode())
        seen = await self.request("HEAD", path)
        if seen.status == 200:
            return False
        if seen.status != 404:
            raise NodeError(
                f"The node does not let its credential use that bucket ({seen.status}).", seen.status
            )
        body = b""
        if self._node.region != "us-east-1":
            body = (
                '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>'
                f"{escape(self._node.region)}</LocationConstraint></CreateBucketConfiguration>"
            ).encode()
        answer = await self.request("PUT", path, body=body)
        if answer.code != "BucketAlreadyOwnedByYou":
            await self.ok("make the bucket", answer)
        return True

    async def is_versioned(self, bucket: str) -> bool:
        """Whether the bucket keeps versions (suspended counts: there may be old ones)."""
        answer = await self.request("GET", b"/" + encode_component(bucket.encode()), [("versioning", "")])
        if answer.status != 200:
            return False
        return text_of(answer.xml(), "Status") in ("Enabled", "Suspended")

    async def checks_payload(self, bucket: str) -> bool:
        """Whether the node refuses a body that does not match its signed hash (protocol, rule 16)."""
        key = b"/" + encode_component(bucket.encode()) + b"/.wio-gate-check"
        wrong = hashlib.sha256(b"something else").hexdigest()
        answer = await self.request("PUT", key, body=b"wio gate checks this node", payload_sha256=wrong)
        if 200 <= answer.status < 300:
            await self.request("DELETE", key)
            return False
        return answer.status == 400 or answer.code in ("XAmzContentSHA256Mismatch", "BadDigest")

    async def size(self, path: bytes) -> int:
        """Bytes of the object at an encoded path, -1 when there is none."""
        answer = await self.request("HEAD", path)
        if answer.status == 404:
            return -1
        return (await self.ok("look at an object", answer)).length

    async def first_level(self, bucket: str, prefix: str) -> AsyncIterator[str]:
        """The common prefixes directly under `prefix`."""
        token = ""
        while True:
            query = [("delimiter", "/"), ("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)]
            if token:
                query.append(("continuation-token", token))
            path = b"/" + encode_component(bucket.encode())
            page = (await self.ok("list", await self.request("GET", path, sorted(query)))).xml()
            for common in children(page, "CommonPrefixes"):
                yield plain_key(text_of(common, "Prefix"))
            token = text_of(page, "NextContinuationToken")
            if text_of(page, "IsTruncated") != "true" or not token:
                return

    async def versions(self, bucket: str, prefix: str) -> AsyncIterator[tuple[str, str]]:
        """(key, version id) of every version and delete marker under the prefix."""
        async for batch in self.version_batches(bucket, prefix):
            for pair in batch:
                yield pair

    async def version_batches(self, bucket: str, prefix: str) -> AsyncIterator[list[tuple[str, str]]]:
        """The same, up to 1,000 at a time. A server without versions is listed plainly."""
        path = b"/" + encode_component(bucket.encode())
        key_marker = version_marker = ""
        while True:
            query = [("encoding-type", "url"), ("max-keys", "1000"), ("prefix", prefix), ("versions", "")]
            if key_marker:
                query += [("key-marker", key_marker), ("version-id-marker", version_marker)]
            page = (await self.ok("list versions", await self.request("GET", path, sorted(query)))).xml()
            batch = [
                (plain_key(text_of(entry, "Key")), text_of(entry, "VersionId"))
                for entry in children(page, "Version", "DeleteMarker")
            ]
            if batch:
                yield batch
            key_marker = plain_key(text_of(page, "NextKeyMarker"))
            version_marker = text_of(page, "NextVersionIdMarker")
            if text_of(page, "IsTruncated") != "true" or not key_marker:
                return

    async def uploads(self, bucket: str, prefix: str) -> AsyncIterator[tuple[str, str]]:
        """(key, upload id) of the unfinished multipart uploads that the node lists under the prefix."""
        path = b"/" + encode_component(bucket.encode())
        key_marker = upload_marker = ""
        while True:
            query = [("encoding-type", "url"), ("prefix", prefix), ("uploads", "")]
            if key_marker:
                query += [("key-marker", key_marker), ("upload-id-marker", upload_marker)]
            page = (await self.ok("list uploads", await self.request("GET", path, sorted(query)))).xml()
            for entry in children(page, "Upload"):
                yield plain_key(text_of(entry, "Key")), text_of(entry, "UploadId")
            key_marker = plain_key(text_of(page, "NextKeyMarker"))
            upload_marker = text_of(page, "NextUploadIdMarker")
            if text_of(page, "IsTruncated") != "true" or not key_marker:
                return

    async def delete(self, bucket: str, entries: list[tuple[str, str]]) -> None:
        """Deletes (key, version id) pairs, one by one named in one request. Raises NodeError if any stays."""
        objects = "".join(
            f"<Object><Key>{escape(key)}</Key>"
            + (f"<VersionId>{escape(version)}</VersionId>" if version else "")
            + "</Object>"
            for key, version in entries
        )
        body = f"<Delete><Quiet>true</Quiet>{objects}</Delete>".encode()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        path = b"/" + encode_component(bucket.encode())
        answer = await self.request("POST", path, [("delete", "")], body, {"content-md5": md5})
        page = (await self.ok("delete", answer)).xml()
        if failed := children(page, "Error"):
            raise NodeError(f"The node kept {len(failed)} objects: {text_of(failed[0], 'Code')[:64]}")

    async def abort(self, bucket: str, key: str, upload: str) -> None:
        """Aborts a multipart upload; one that is gone is no error."""
        path = b"/" + encode_component(bucket.encode()) + encode_path(b"/" + key.encode())
        answer = await self.request("DELETE", path, [("uploadId", upload)])
        if answer.status != 404:
            await self.ok("abort an upload", answer)


def plain_key(encoded: str) -> str:
    """A key as listed with `encoding-type=url`, decoded."""
    return unquote_plus(encoded, errors="surrogateescape")


@asynccontextmanager
async def open_node(node: Node, secret: str) -> AsyncIterator[NodeClient]:
    """A client with connections of its own, closed at the end. The environment's proxies are not used."""
    async with httpx.AsyncClient(
        timeout=_TIMEOUT, headers={"accept-encoding": "identity"}, follow_redirects=False, trust_env=False,
        limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
    ) as http:  # fmt: skip
        yield NodeClient(http, node, secret)


@asynccontextmanager
async def open_client(sealer: Sealer, node: Node) -> AsyncIterator[NodeClient]:
    """The same with the node's own sealed secret."""
    secret = sealer.open(node.secret, b"node:" + node.id.encode()).decode()
    async with open_node(node, secret) as client:
        yield client
