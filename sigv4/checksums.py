"""The checksums that S3 knows: what `x-amz-checksum-NAME` holds, computed as the body passes.

CRC32C and CRC64NVME come from `awscrt`, AWS's own runtime (tens of GB/s on the CPU's instructions, one wheel
for every Python ≥ 3.11): a table-driven one in Python makes a few MB/s, and bodies stream through here.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Protocol

from .errors import BadDigest, SigV4Error

Piece = bytes | bytearray | memoryview


@cache
def _crt() -> Any:
    # Loading it takes nearly 100 ms, and who only signs needs none of it.
    import awscrt.checksums as crt  # type: ignore[import-untyped]

    return crt


def load_checksums() -> None:
    """Load now what the first checksum of some algorithms would load: who serves lets no request wait for it."""
    _crt()


class _Hash(Protocol):
    def update(self, data: Piece, /) -> object: ...
    def digest(self) -> bytes: ...


class _Crc:
    """A CRC function of `(data, previous)` as a hash object."""

    __slots__ = ("_function", "_size", "_value")

    def __init__(self, function: Callable[[Piece, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: Piece, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


class _XXHash:
    """awscrt's XXHash, which takes `bytes` only, and gives its digest only once."""

    __slots__ = ("_digest", "_hash")

    def __init__(self, hash_: Any) -> None:
        self._hash = hash_
        self._digest: bytes | None = None

    def update(self, data: Piece, /) -> None:
        self._hash.update(bytes(data))

    def digest(self) -> bytes:
        if self._digest is None:
            self._digest = bytes(self._hash.finalize())
        return self._digest


_ALGORITHMS: Final[dict[str, tuple[int, Callable[[], _Hash]]]] = {
    "crc32": (4, lambda: _Crc(zlib.crc32, 4)),
    "crc32c": (4, lambda: _Crc(_crt().crc32c, 4)),
    "crc64nvme": (8, lambda: _Crc(_crt().crc64nvme, 8)),
    "md5": (16, lambda: hashlib.md5(usedforsecurity=False)),
    "sha1": (20, lambda: hashlib.sha1(usedforsecurity=False)),
    "sha256": (32, hashlib.sha256),
    "sha512": (64, hashlib.sha512),
    "xxhash3": (8, lambda: _XXHash(_crt().XXHash.new_xxhash3_64())),
    "xxhash64": (8, lambda: _XXHash(_crt().XXHash.new_xxhash64())),
    "xxhash128": (16, lambda: _XXHash(_crt().XXHash.new_xxhash3_128())),
}

#: Names as in `x-amz-checksum-NAME`.
CHECKSUM_ALGORITHMS: Final = frozenset(_ALGORITHMS)
CHECKSUM_PREFIX: Final = "x-amz-checksum-"


class Checksum:
    """One running checksum. `algorithm` is a name of CHECKSUM_ALGORITHMS (KeyError for others).

    >>> c = Checksum("crc32c")
    >>> c.update(b"123456789")
    >>> c.base64()
    '4waSgw=='
    """

    __slots__ = ("_hash", "algorithm")

    def __init__(self, algorithm: str) -> None:
        self._hash = _ALGORITHMS[algorithm][1]()
        self.algorithm = algorithm

    def update(self, data: Piece) -> None:
        """Take the next piece."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """The checksum of the pieces so far; after the first call no more may follow."""
        return self._hash.digest()

    def base64(self) -> str:
        """The checksum as the header holds it."""
        return base64.b64encode(self._hash.digest()).decode("ascii")

    def verify(self, expected: str) -> None:
        """Raises BadDigest unless `expected` (base64) is the checksum; InvalidRequest where it cannot be one."""
        if not hmac.compare_digest(self.digest(), parse_checksum(self.algorithm, expected)):
            raise BadDigest(self.algorithm)


def parse_checksum(algorithm: str, value: str) -> bytes:
    """The bytes of a header's base64 value. InvalidRequest unless it is of the algorithm's size."""
    try:
        digest = base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != _ALGORITHMS[algorithm][0]:
        raise SigV4Error("InvalidRequest", f"Value for {CHECKSUM_PREFIX}{algorithm} header is invalid.")
    return digest


def checksum_size(algorithm: str) -> int:
    """Bytes of the base64 text of a checksum, known before it is computed."""
    return -(-_ALGORITHMS[algorithm][0] // 3) * 4
