"""The same requests straight to MinIO and through the gate: what a client sees is the same, or the reason is here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree

from tests.proxy.corpus import BUCKET, Request, corpus
from tests.proxy.gates import KEYS, Gate, secret_of
from tests.proxy.signer import Signer
from tests.proxy.wire import Reply

#: Headers that say something of the object or of the operation; all others are the server's own. `accept-ranges`,
#: which MinIO puts on everything, is of objects.
HEADERS = re.compile(
    r"cache-control|content-(?!security|length).*|etag|expires|last-modified|location|x-amz-(?!request-id|id-2).*"
)
#: Elements whose text is a name of the deployment, a moment, or an id: only that they are there is compared.
FREE = frozenset(
    {
        "RequestId", "HostId", "UploadId", "LastModified", "ID", "DisplayName", "Location", "CreationDate",
        "Initiated", "ContinuationToken", "NextContinuationToken",
    }
)  # fmt: skip

#: What differs by intent, and why: requests by name. Each must still differ, or it has no business here.
ACCEPTED = {
    r"list .*max-keys=2.*": "MinIO's markers carry its cache's state; ours are keys, or sealed",
    r"list list-type=2&max-keys=5000": "MaxKeys tells the page's true bound, 1000, as AWS does",
    r"list versions&version-id-marker=x": "goes on behind an object without a name here, whose marker SDKs leave out",
    r"list list-type=3": "a value that no version of S3 has is refused: nothing unknown is forwarded",
    r"uploads(&prefix=x)?": "MaxUploads is AWS's 1000, MinIO's is 10000",
    r"parts .* &encoding-type=url": "EncodingType is told where it was asked for, as AWS does",
    r"(GET|HEAD) part (0|x)": "InvalidArgument, as AWS; MinIO fails with an error of its admin API, or with 500",
    r"bad part .*": "InvalidArgument, as AWS; to MinIO a part 0 is one that was not found",
    r"bad tags: nothing": "MalformedXML; MinIO fails with 500",
    r"complete (malformed|nothing) .*": "MalformedXML, as AWS",
    r"(get|object) acl": "the owner is told, as AWS does; MinIO's is empty, and text/plain",
    r"head bucket": "x-amz-bucket-region, as AWS: SDKs look for it",
    r"DELETE unknown upload": "NoSuchUpload, as AWS; MinIO says 204 to what it never issued",
    r"delete many, no digest": "InvalidRequest, as AWS",
    r"delete many, bad digest": "the gate checks every body that it consumes; MinIO does not look",
    r"delete many, empty key": "MalformedXML, as AWS",
    r"dots": "refused before the node could resolve it",
    r"copy 'double//slash'": "the node does not take the source's name; told as an invalid request",
    r"HEAD bytes=64-": "an error's headers are not the object's",
}


def shape(node: etree._Element, path: str = "") -> list[tuple[str, str]]:
    """Every element of a document, by path in order, with its text; without attributes, namespaces and empty leaves."""
    name = etree.QName(node).localname
    here = f"{path}/{name}"
    text = "…" if name in FREE and node.text else (node.text or "").strip()
    inner = [row for child in node if isinstance(child.tag, str) for row in shape(child, here)]
    return [(here, text), *inner] if text or inner or not path else []


@dataclass
class Seen:
    """What is compared of one answer. Of an error: status and code, and what its headers tell of the object."""

    status: int
    headers: dict[str, str]
    body: list[tuple[str, str]] | bytes

    @classmethod
    def of(cls, reply: Reply) -> Seen:
        headers = {name: value for name, value in reply.headers.items() if HEADERS.fullmatch(name)}
        if "last-modified" in headers:
            headers["last-modified"] = "…"
        if reply.status >= 400:
            # Sentences and details are each server's own, and MinIO's HEAD errors have no type.
            for name in ("content-type", "cache-control", "expires"):
                headers.pop(name, None)
            return cls(reply.status, headers, reply.code.encode())
        body: list[tuple[str, str]] | bytes = reply.body
        if reply.headers.get("content-type") == "application/xml" or reply.body.startswith(b"<?xml"):
            body = shape(etree.fromstring(reply.body)) if reply.body else b""
        elif reply.status != 304:
            headers["content-length"] = reply.headers.get("content-length", "")
        return cls(reply.status, headers, body)


def ask(signer: Signer, request: Request, upload: list[str]) -> Reply:
    target = request.target.replace("{upload}", upload[-1] if upload else "none")
    reply = signer.send(request.method, target, request.body, *request.headers)
    if reply.find("UploadId") and request.target.endswith("?uploads"):
        upload.append(reply.find("UploadId"))
    return reply


def differences(gate: Gate) -> Iterator[tuple[Request, Seen, Seen]]:
    gate.node_client().create_bucket(Bucket=BUCKET)
    gate.apply([gate.workspace(BUCKET)])
    node = Signer(gate.minio.endpoint, gate.minio.access_key, gate.minio.secret_key)
    ours = Signer(gate.endpoint, KEYS["alice"], secret_of("alice"))
    uploads: tuple[list[str], list[str]] = ([], [])
    for request in corpus():
        straight = Seen.of(ask(node, request, uploads[0]))
        through = Seen.of(ask(ours, request, uploads[1]))
        if straight != through:
            yield request, straight, through


def test_the_gate_answers_as_its_node(gate: Gate) -> None:
    unexplained, explained = [], set()
    for request, straight, through in differences(gate):
        reason = next((name for name in ACCEPTED if re.fullmatch(name, request.name, re.DOTALL)), None)
        if reason is None:
            unexplained.append(
                f"{request.name}: {request.method} {request.target}\n  {straight}\n  {through}"
            )
        else:
            explained.add(reason)
    assert not unexplained, "\n".join(unexplained)
    assert explained == set(ACCEPTED), "these no longer differ"
    assert len(list(corpus())) > 500
    assert gate.charged(f"w:ws{BUCKET}") == gate.stored(BUCKET)
