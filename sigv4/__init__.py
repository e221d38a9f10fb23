"""SigV4, without any I/O: verify and make signatures, take apart and make aws-chunked bodies.

The caller passes the time and the secret. Every function gives a result or raises `SigV4Error`.
"""

from .amz_content_sha256 import EMPTY_SHA256, UNSIGNED_PAYLOAD, PayloadHasher, PayloadKind
from .amz_date import format_amz_date, parse_amz_date
from .aws_chunked_encoder import ChunkEncoder, UnsignedChunkFramer, encode_chunked, encoded_length
from .aws_chunked_stream import ChunkDecoder, strip_aws_chunked
from .canonical import canonical_path, decode_component, encode_component, encode_path, query_pairs
from .checksums import (
    CHECKSUM_ALGORITHMS,
    CHECKSUM_PREFIX,
    Checksum,
    checksum_size,
    load_checksums,
    parse_checksum,
)
from .claims import MAX_SKEW, parse
from .errors import (
    BadDigest,
    ContentSHA256Mismatch,
    IncompleteBody,
    InvalidChunkSize,
    MalformedTrailer,
    SignatureDoesNotMatch,
    SigV4Error,
)
from .keys import VerifiedContext, signing_key
from .post_policy import Condition, PostPolicy
from .post_signature_v4 import PresentedForm, parse_form
from .presented import Presented
from .presigned_url_v4 import MAX_EXPIRES
from .sign import Signer, presign, sign, sign_streaming

__all__ = [
    "CHECKSUM_ALGORITHMS",
    "CHECKSUM_PREFIX",
    "EMPTY_SHA256",
    "MAX_EXPIRES",
    "MAX_SKEW",
    "UNSIGNED_PAYLOAD",
    "BadDigest",
    "Checksum",
    "ChunkDecoder",
    "ChunkEncoder",
    "Condition",
    "ContentSHA256Mismatch",
    "IncompleteBody",
    "InvalidChunkSize",
    "MalformedTrailer",
    "PayloadHasher",
    "PayloadKind",
    "PostPolicy",
    "Presented",
    "PresentedForm",
    "SigV4Error",
    "SignatureDoesNotMatch",
    "Signer",
    "UnsignedChunkFramer",
    "VerifiedContext",
    "canonical_path",
    "checksum_size",
    "decode_component",
    "encode_chunked",
    "encode_component",
    "encode_path",
    "encoded_length",
    "format_amz_date",
    "load_checksums",
    "parse",
    "parse_amz_date",
    "parse_checksum",
    "parse_form",
    "presign",
    "query_pairs",
    "sign",
    "sign_streaming",
    "signing_key",
    "strip_aws_chunked",
]
