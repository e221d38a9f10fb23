"""Making signatures: for requests to a node, and presigned URLs.

What is signed is the canonical spelling of the path and query given, so a server that decodes and encodes
again (as MinIO does) agrees with one that takes the bytes as they come (as AWS documents).
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from .canonical import canonical_path, encode_component, fold, join_query, query_pairs, service_path
from .keys import VerifiedContext, hmac_hex, signing_key
from .presigned_url_v4 import MAX_EXPIRES

#: Headers that something between here and the server may change or drop, so that signing them breaks requests.
#: Precedent: botocore's SIGNED_HEADERS_BLACKLIST, aws-sdk-go-v2's IgnoredHeaders.
UNSIGNABLE: Final = frozenset(
    {
        b"accept-encoding",
        b"authorization",
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"user-agent",
        b"via",
        b"x-amzn-trace-id",
    }
)


def sign(
    method: bytes | str,
    raw_path: bytes,
    query_string: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    access_key_id: str,
    secret: str,
    session_token: str | None = None,
    amz_date: str,
    region: str,
    service: str = "s3",
    payload_sha256: str,
) -> list[tuple[bytes, bytes]]:
    """The headers to add to a request: x-amz-date, x-amz-content-sha256, the token if any, and authorization.

    `headers` (lower-case names) must hold `host`, and none of those that are added (ValueError); all but
    UNSIGNABLE are signed. `payload_sha256` is hex, or one of the literals of `PayloadKind`. SigV4Error
    (InvalidURI) where path or query are malformed.
    """
    return _sign(
        method,
        raw_path,
        query_string,
        headers,
        access_key_id=access_key_id,
        secret=secret,
        session_token=session_token,
        amz_date=amz_date,
        region=region,
        service=service,
        payload_sha256=payload_sha256,
    )[0]


def sign_streaming(
    method: bytes | str,
    raw_path: bytes,
    query_string: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    access_key_id: str,
    secret: str,
    session_token: str | None = None,
    amz_date: str,
    region: str,
    payload_sha256: str,
) -> tuple[list[tuple[bytes, bytes]], VerifiedContext]:
    """As `sign`, and the context from which a `ChunkEncoder` signs the body's chunks."""
    added, key, signature = _sign(
        method,
        raw_path,
        query_string,
        headers,
        access_key_id=access_key_id,
        secret=secret,
        session_token=session_token,
        amz_date=amz_date,
        region=region,
        service="s3",
        payload_sha256=payload_sha256,
    )
    scope = f"{amz_date[:8]}/{region}/s3/aws4_request"
    return added, VerifiedContext(access_key_id, amz_date, scope, key, signature)


def _sign(
    method: bytes | str,
    raw_path: bytes,
    query_string: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    access_key_id: str,
    secret: str,
    session_token: str | None,
    amz_date: str,
    region: str,
    service: str,
    payload_sha256: str,
) -> tuple[list[tuple[bytes, bytes]], bytes, str]:
    payload = payload_sha256.encode("ascii")
    added = [(b"x-amz-date", amz_date.encode("ascii")), (b"x-amz-content-sha256", payload)]
    if session_token is not None:
        added.append((b"x-amz-security-token", session_token.encode("ascii")))
    values = dict(added)
    for name, value in headers:
        if name in UNSIGNABLE:
            continue
        if name in values:
            if name in _ADDED:
                raise ValueError(f"{name.decode()} is for the signer to add")
            values[name] = values[name] + b"," + fold(value)
        else:
            values[name] = fold(value)
    if b"host" not in values:
        raise ValueError("a host header is needed: it is always signed")
    names = sorted(values)
    signed_headers = b";".join(names)
    canonical = b"%b\n%b\n%b\n%b\n%b\n%b" % (
        method.encode("ascii") if isinstance(method, str) else method,
        canonical_path(raw_path) if service == "s3" else service_path(raw_path),
        join_query(query_pairs(query_string)) if query_string else b"",
        b"".join([b"%b:%b\n" % (name, values[name]) for name in names]),
        signed_headers,
        payload,
    )
    date = amz_date[:8]
    key = signing_key(secret, date, region, service)
    scope = f"{date}/{region}/{service}/aws4_request"
    digest = sha256(canonical).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n{digest}".encode()
    signature = hmac_hex(key, text)
    added.append(
        (
            b"authorization",
            b"AWS4-HMAC-SHA256 Credential=%b/%b, SignedHeaders=%b, Signature=%b"
            % (access_key_id.encode("ascii"), scope.encode("ascii"), signed_headers, signature.encode()),
        )
    )
    return added, key, signature


class Signer:
    """Signs the requests of one access key to one host, as `sign` does with that `host` header in front.

    What two requests have in common is made once for each second and payload hash. Not for several threads.
    """

    __slots__ = ("_access_key_id", "_common", "_host", "_made_for", "_region", "_secret")

    def __init__(self, host: bytes, *, access_key_id: str, secret: str, region: str) -> None:
        self._host = (b"host", host)
        self._access_key_id = access_key_id
        self._secret = secret
        self._region = region
        self._made_for = ("", "")
        self._common: _Common | None = None

    def __repr__(self) -> str:
        return f"Signer({self._host[1]!r}, access_key_id={self._access_key_id!r})"

    def sign(
        self,
        method: bytes,
        path: bytes,
        query: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        amz_date: str,
        payload_sha256: str,
    ) -> list[tuple[bytes, bytes]]:
        """All the headers of a request: `host`, those given, and what signs them. Errors as for `sign`."""
        if headers:
            given = [self._host, *headers]
            return given + sign(
                method,
                path,
                query,
                given,
                access_key_id=self._access_key_id,
                secret=self._secret,
                amz_date=amz_date,
                region=self._region,
                payload_sha256=payload_sha256,
            )
        common = self._common
        if common is None or self._made_for != (amz_date, payload_sha256):
            common = self._common = self._make_common(amz_date, payload_sha256)
            self._made_for = (amz_date, payload_sha256)
        if query:
            query = join_query(query_pairs(query))
        digest = sha256(
            b"%b\n%b\n%b\n%b" % (method, canonical_path(path), query, common.canonical)
        ).hexdigest()
        signature = hmac_hex(common.key, common.string_to_sign + digest.encode())
        return [*common.headers, (b"authorization", common.authorization + signature.encode())]

    def _make_common(self, amz_date: str, payload_sha256: str) -> _Common:
        scope = f"{amz_date[:8]}/{self._region}/s3/aws4_request"
        date, payload = amz_date.encode("ascii"), payload_sha256.encode("ascii")
        names = b"host;x-amz-content-sha256;x-amz-date"
        return _Common(
            signing_key(self._secret, amz_date[:8], self._region, "s3"),
            (self._host, (b"x-amz-date", date), (b"x-amz-content-sha256", payload)),
            b"host:%b\nx-amz-content-sha256:%b\nx-amz-date:%b\n\n%b\n%b"
            % (fold(self._host[1]), payload, date, names, payload),
            f"AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n".encode("ascii"),
            b"AWS4-HMAC-SHA256 Credential=%b/%b, SignedHeaders=%b, Signature="
            % (self._access_key_id.encode("ascii"), scope.encode("ascii"), names),
        )


class _Common(NamedTuple):
    """What requests without further headers share: `canonical`, `string_to_sign`, `authorization` as far as known."""

    key: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    canonical: bytes
    string_to_sign: bytes
    authorization: bytes


_ADDED: Final = frozenset({b"x-amz-date", b"x-amz-content-sha256", b"x-amz-security-token"})


def presign(
    method: bytes | str,
    raw_path: bytes,
    query_string: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    access_key_id: str,
    secret: str,
    session_token: str | None = None,
    amz_date: str,
    expires: int,
    region: str,
    service: str = "s3",
    payload_sha256: str = "UNSIGNED-PAYLOAD",
) -> bytes:
    """The whole query string of a presigned URL: what was given, and the `X-Amz-*` parameters.

    `headers` (lower-case names, `host` among them: ValueError without) are all signed, so whoever uses the URL
    must send them. `expires` is 1 to 604800 seconds (ValueError for others).
    """
    if not 1 <= expires <= MAX_EXPIRES:
        raise ValueError("a presigned URL holds between one second and seven days")
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        values[name] = values[name] + b"," + fold(value) if name in values else fold(value)
    if b"host" not in values:
        raise ValueError("a host header is needed: it is always signed")
    date = amz_date[:8]
    scope = f"{date}/{region}/{service}/aws4_request"
    names = sorted(values)
    pairs = query_pairs(query_string)
    pairs += [
        (b"X-Amz-Algorithm", b"AWS4-HMAC-SHA256"),
        (b"X-Amz-Credential", _quote(f"{access_key_id}/{scope}")),
        (b"X-Amz-Date", amz_date.encode("ascii")),
        (b"X-Amz-Expires", b"%d" % expires),
        (b"X-Amz-SignedHeaders", b"%3B".join(names)),
    ]
    if session_token is not None:
        pairs.append((b"X-Amz-Security-Token", _quote(session_token)))
    query = join_query(pairs)
    canonical = b"%b\n%b\n%b\n%b\n%b\n%b" % (
        method.encode("ascii") if isinstance(method, str) else method,
        canonical_path(raw_path) if service == "s3" else service_path(raw_path),
        query,
        b"".join([b"%b:%b\n" % (name, values[name]) for name in names]),
        b";".join(names),
        payload_sha256.encode("ascii"),
    )
    key = signing_key(secret, date, region, service)
    text = f"AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n{sha256(canonical).hexdigest()}".encode()
    return query + b"&X-Amz-Signature=" + hmac_hex(key, text).encode()


def _quote(text: str) -> bytes:
    return encode_component(text.encode("utf-8"))
