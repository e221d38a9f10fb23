"""Golden vectors by botocore: `python -m tests.sigv4.make_vectors` writes vectors/botocore.json.

They are kept on disk, so a change of ours is judged by what botocore once said, stage by stage, and a change of
botocore's shows in the difference of the file.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 3, 1, 12, 34, 56, tzinfo=datetime.UTC)
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
HOST = "gate.example:9000"

#: name, method, path, query, headers, body (None: not signed)
CASES: list[tuple[str, str, str, str, dict[str, str], bytes | None]] = [
    ("get", "GET", "/bucket/key", "", {}, b""),
    ("put-body", "PUT", "/bucket/key", "", {"Content-Type": "text/plain"}, b"hello"),
    ("put-unsigned", "PUT", "/bucket/key", "", {}, None),
    ("space-and-plus", "GET", "/bucket/a%20b%2Bc", "", {}, b""),
    ("double-slash-dots", "GET", "/bucket//a/./b/../c", "", {}, b""),
    ("encoded-slash", "GET", "/bucket/a%2Fb", "", {}, b""),
    ("percent-in-key", "GET", "/bucket/100%25", "", {}, b""),
    ("utf8-key", "GET", "/bucket/%E1%88%B4", "", {}, b""),
    ("tilde", "GET", "/bucket/~a_b-c.d", "", {}, b""),
    ("query-order", "GET", "/bucket", "prefix=b&list-type=2&prefix=a&max-keys=9", {}, b""),
    ("query-empty-value", "GET", "/bucket", "acl", {}, b""),
    ("query-escapes", "GET", "/bucket", "prefix=a%20b%2Fc%2Bd&delimiter=%2F", {}, b""),
    ("query-prefix-names", "GET", "/bucket", "a-b=1&a=2", {}, b""),
    ("inner-whitespace", "PUT", "/bucket/key", "", {"X-Amz-Meta-Note": "  a   b  c "}, b""),
    ("range", "GET", "/bucket/key", "", {"Range": "bytes=0-9"}, b""),
    ("metadata", "PUT", "/b/k", "", {"x-amz-meta-b": "2", "x-amz-meta-a": "1", "Content-MD5": "AA=="}, b"x"),
]


def _lower(headers: Any) -> list[list[str]]:
    return [[name.lower(), value] for name, value in headers.items()]


def _record(auth_class: Any, case: Any, token: str | None, **options: Any) -> dict[str, object]:
    name, method, path, query, headers, body = case
    stages: dict[str, str] = {}

    class Recording(auth_class):  # type: ignore[misc]
        def canonical_request(self, request: AWSRequest) -> str:
            stages["canonical_request"] = super().canonical_request(request)
            return stages["canonical_request"]

        def string_to_sign(self, request: AWSRequest, canonical_request: str) -> str:
            stages["string_to_sign"] = super().string_to_sign(request, canonical_request)
            return stages["string_to_sign"]

        def signature(self, string_to_sign: str, request: AWSRequest) -> str:
            stages["signature"] = super().signature(string_to_sign, request)
            return stages["signature"]

    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers=headers, data=b"" if options else body or b"")
    service = "sts" if auth_class is SigV4Auth else "s3"
    if service == "s3":
        request.context["payload_signing_enabled"] = body is not None
        request.context["client_config"] = mock.Mock(s3={"payload_signing_enabled": body is not None})
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW):
        credentials = Credentials("AKIAIOSFODNN7EXAMPLE", SECRET, token)
        Recording(credentials, service, "eu-west-3", **options).add_auth(request)
    parts = urlsplit(request.url)
    return {
        "name": f"{name}-{'presigned' if options else service}{'-token' if token else ''}",
        "method": method,
        "path": parts.path,
        "query": parts.query,
        "headers": [["host", HOST], *_lower(request.headers)],
        "service": service,
        "region": "eu-west-3",
        "secret": SECRET,
        "now": int(NOW.timestamp()),
        "token": token,
        "body_sha256": hashlib.sha256(body or b"").hexdigest() if service != "s3" else None,
        **stages,
    }


def vectors() -> list[dict[str, object]]:
    """Every case as header, presigned and (for another service) double-encoded form, with and without a token."""
    made = []
    for case in CASES:
        for token in (None, "IQoJb3JpZ2luX2VjE/token+with/odd=characters=="):
            made.append(_record(S3SigV4Auth, case, token))
            made.append(_record(S3SigV4QueryAuth, case, token, expires=3600))
            if case[5] is not None:
                made.append(_record(SigV4Auth, case, token))
    return made


if __name__ == "__main__":
    target = Path(__file__).with_name("vectors") / "botocore.json"
    target.write_text(json.dumps(vectors(), indent=1) + "\n")
