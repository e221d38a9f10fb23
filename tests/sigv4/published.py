"""AWS's published examples, written down as vectors: `python -m tests.sigv4.published` writes aws.json.

The documentation prints the SHA-256 of each canonical request, and each signature; both are asserted. Sources:
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and …/sigv4-query-string-auth.html;
the last one: the suite at https://docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html
"""

from __future__ import annotations

import json
from pathlib import Path

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SCOPE = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
HOST = ["host", "examplebucket.s3.amazonaws.com"]
DATE = ["x-amz-date", "20130524T000000Z"]
NOW = 1369353600


def _headers(signed: str, signature: str, *more: list[str], sha: str = EMPTY) -> list[list[str]]:
    authorization = f"AWS4-HMAC-SHA256 Credential={SCOPE},SignedHeaders={signed},Signature={signature}"
    return [HOST, *more, ["x-amz-content-sha256", sha], DATE, ["authorization", authorization]]


def _vector(
    name: str, digest: str, signature: str, headers: list[list[str]], **more: str
) -> dict[str, object]:
    base = {
        "name": name,
        "method": "GET",
        "path": "/",
        "query": "",
        "service": "s3",
        "secret": SECRET,
        "now": NOW,
    }
    return {**base, "canonical_sha256": digest, "signature": signature, "headers": headers, **more}


def vectors() -> list[dict[str, object]]:
    """The examples, in the documentation's order."""
    get = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    put = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    lifecycle = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    listing = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    presigned = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={vanilla}"
    )
    body = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    return [
        _vector(
            "get-object",
            "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
            get,
            _headers("host;range;x-amz-content-sha256;x-amz-date", get, ["range", "bytes=0-9"]),
            path="/test.txt",
        ),
        _vector(
            "put-object",
            "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d",
            put,
            _headers(
                "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                put,
                ["date", "Fri, 24 May 2013 00:00:00 GMT"],
                ["x-amz-storage-class", "REDUCED_REDUNDANCY"],
                sha=body,
            ),
            method="PUT",
            path="/test%24file.text",
        ),
        _vector(
            "get-bucket-lifecycle",
            "9766c798316ff2757b517bc739a67f6213b4ab36dd5da2f94eaebf79c77395ca",
            lifecycle,
            _headers("host;x-amz-content-sha256;x-amz-date", lifecycle),
            query="lifecycle",
        ),
        _vector(
            "list-objects",
            "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7",
            listing,
            _headers("host;x-amz-content-sha256;x-amz-date", listing),
            query="max-keys=2&prefix=J",
        ),
        _vector(
            "presigned-get",
            "3bfa292879f6447bbcda7001decf97f4a54dc650c8942174ae0a9121cf58ad04",
            presigned,
            [HOST],
            path="/test.txt",
            query="X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3"
            "%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
            f"&X-Amz-Signature={presigned}",
        ),
        {
            **_vector(
                "get-vanilla",
                "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63",
                vanilla,
                [
                    ["host", "example.amazonaws.com"],
                    ["x-amz-date", "20150830T123600Z"],
                    ["authorization", authorization],
                ],
                service="service",
                secret="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                body_sha256=EMPTY,
            ),
            "now": 1440938160,
        },
    ]


if __name__ == "__main__":
    target = Path(__file__).with_name("vectors") / "aws.json"
    target.write_text(json.dumps(vectors(), indent=1) + "\n")
