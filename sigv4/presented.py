"""A request as presented, and its verification: every form of authentication goes through this one gate.

`Presented.verify` compares in constant time. A `Presented` has not been authenticated; a `VerifiedContext` has.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import Final, Literal

from .amz_content_sha256 import PayloadKind
from .aws_chunked_stream import ChunkDecoder
from .canonical import canonical_path, service_path
from .errors import ContentSHA256Mismatch, SignatureDoesNotMatch
from .keys import VerifiedContext, hmac_hex, signing_key

Form = Literal["header", "presigned"]


class Presented:
    """A well-formed, timely, complete claim of a signature; nothing about it is proven before `verify`.

    `amz_date` `YYYYMMDDTHHMMSSZ` · `scope` `DATE/REGION/SERVICE/aws4_request` · `signed_headers` sorted ·
    `payload` how the body is bound · `payload_sha256` hex, for SIGNED only · `expires_at` seconds since the
    epoch, presigned only · `query` the parameters in order, encoded canonically (authorise by these) ·
    `decoded_length` and `trailers` what the headers announce of an aws-chunked body · the last four are what
    `verify` compares, as it was received.
    """

    __slots__ = (
        "access_key_id",
        "amz_date",
        "canonical_headers",
        "canonical_query",
        "date",
        "decoded_length",
        "expires_at",
        "form",
        "method",
        "path",
        "payload",
        "payload_literal",
        "payload_sha256",
        "query",
        "region",
        "service",
        "session_token",
        "signature",
        "signed_headers",
        "trailers",
    )

    def __init__(
        self,
        form: Form,
        method: bytes,
        path: bytes,
        query: tuple[tuple[bytes, bytes], ...],
        access_key_id: str,
        session_token: str | None,
        amz_date: str,
        date: str,
        region: str,
        service: str,
        signed_headers: tuple[bytes, ...],
        payload: PayloadKind,
        payload_sha256: str | None,
        expires_at: float | None,
        decoded_length: int | None,
        trailers: tuple[str, ...],
        signature: bytes,
        canonical_query: bytes,
        canonical_headers: bytes,
        payload_literal: bytes | None,
    ) -> None:
        self.form: Final = form
        self.method: Final = method
        self.path: Final = path
        self.query: Final = query
        self.access_key_id: Final = access_key_id
        self.session_token: Final = session_token
        self.amz_date: Final = amz_date
        self.date: Final = date
        self.region: Final = region
        self.service: Final = service
        self.signed_headers: Final = signed_headers
        self.payload: Final = payload
        self.payload_sha256: Final = payload_sha256
        self.expires_at: Final = expires_at
        self.decoded_length: Final = decoded_length
        self.trailers: Final = trailers
        self.signature: Final = signature
        self.canonical_query: Final = canonical_query
        self.canonical_headers: Final = canonical_headers
        self.payload_literal: Final = payload_literal

    def __repr__(self) -> str:
        # Never the token or the signature.
        return f"Presented({self.form} {self.method!r} {self.path!r} by {self.access_key_id!r})"

    @property
    def scope(self) -> str:
        """`YYYYMMDD/REGION/SERVICE/aws4_request`."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"

    def canonical_request(self, body_sha256: str | None = None) -> bytes:
        """What must have been signed. `body_sha256` (hex) is needed where `payload` is BODY; ValueError without."""
        if self.service == "s3":
            return self._canonical(self.path, body_sha256)
        return self._canonical(service_path(self.path), body_sha256)

    def string_to_sign(self, canonical_request: bytes) -> bytes:
        """The text whose HMAC is the signature."""
        digest = hashlib.sha256(canonical_request).hexdigest()
        return f"AWS4-HMAC-SHA256\n{self.amz_date}\n{self.scope}\n{digest}".encode()

    def verify(self, secret: str, *, body_sha256: str | None = None) -> VerifiedContext:
        """Compare in constant time. Raises SignatureDoesNotMatch, telling what was expected to be signed.

        `body_sha256`: hex SHA-256 of the body received. Every service but S3 needs it (ValueError without). Where
        it is given and another one was signed, ContentSHA256Mismatch is raised. For S3 and SIGNED, a caller that
        gives none must hash the body as it passes (`PayloadHasher`), or have the node do so.
        """
        if body_sha256 is None and self.service != "s3":
            raise ValueError("the signature of this request covers the body: its SHA-256 is needed")
        canonical = self.canonical_request(body_sha256)
        key = signing_key(secret, self.date, self.region, self.service)
        string_to_sign = self.string_to_sign(canonical)
        if hmac.compare_digest(hmac_hex(key, string_to_sign).encode(), self.signature):
            return self._verified(key, body_sha256)
        for path, query in self._spellings():
            again = self.string_to_sign(self._canonical(path, body_sha256, query))
            if hmac.compare_digest(hmac_hex(key, again).encode(), self.signature):
                return self._verified(key, body_sha256)
        raise SignatureDoesNotMatch(details=_explain(self.access_key_id, string_to_sign, canonical))

    def _spellings(self) -> Iterator[tuple[bytes, bytes]]:
        """Other spellings of path and query that stand for the same bytes, so that what is authorised is the same.

        Some clients send a sub-delimiter such as "(" or "+" as it is, and sign it encoded, as AWS reads it. And
        minio-go keeps the values of a parameter that comes several times in the order written, as MinIO does.
        """
        if self.service != "s3":
            return
        spelt = canonical_path(self.path)
        if spelt != self.path:
            yield spelt, self.canonical_query
        by_name = [pair for pair in self.query if pair[0] != b"X-Amz-Signature"]
        by_name.sort(key=lambda pair: pair[0])
        written = b"&".join([name + b"=" + value for name, value in by_name])
        if written != self.canonical_query:
            yield self.path, written

    def chunk_decoder(self, context: VerifiedContext) -> ChunkDecoder:
        """The decoder for this request's aws-chunked body (ValueError where it has none).

        `context` is what this request's own `verify` gave.
        """
        if self.decoded_length is None:
            raise ValueError("the body is not aws-chunked")
        return ChunkDecoder(
            context if self.payload.chunks_signed else None,
            kind=self.payload,
            decoded_length=self.decoded_length,
            trailers=self.trailers,
        )

    def _verified(self, key: bytes, body_sha256: str | None) -> VerifiedContext:
        if body_sha256 is not None and self.payload_sha256 not in (None, body_sha256):
            raise ContentSHA256Mismatch(self.payload_sha256 or "", body_sha256)
        return VerifiedContext(
            self.access_key_id, self.amz_date, self.scope, key, self.signature.decode("ascii")
        )

    def _canonical(self, path: bytes, body_sha256: str | None, query: bytes | None = None) -> bytes:
        payload = self.payload_literal
        if payload is None:
            if body_sha256 is None:
                raise ValueError("the signature of this request covers the body: its SHA-256 is needed")
            payload = body_sha256.encode("ascii")
        return b"%b\n%b\n%b\n%b\n%b\n%b" % (
            self.method,
            path,
            self.canonical_query if query is None else query,
            self.canonical_headers,
            b";".join(self.signed_headers),
            payload,
        )


def _explain(access_key_id: str, string_to_sign: bytes, canonical: bytes) -> dict[str, str]:
    return {
        "AWSAccessKeyId": access_key_id,
        "StringToSign": string_to_sign.decode("utf-8", "replace"),
        "StringToSignBytes": string_to_sign.hex(" "),
        "CanonicalRequest": canonical.decode("utf-8", "replace"),
        "CanonicalRequestBytes": canonical.hex(" "),
    }
