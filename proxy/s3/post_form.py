"""The body of a POST form upload: multipart/form-data whose last part is the file (protocol, rule 17).

Sans-IO. The fields before the file are read within a bound; the file's length follows from Content-Length and the
boundaries before its first byte is taken, so that room can be held for it; and whatever comes after the file but the
closing boundary is a mismatch, found while the last bytes are still held back. Sources: RFC 7578, RFC 2046 (section
5.1.1), https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from proxy.s3.errors import Code, Refusal, S3Error, error
from proxy.s3.xml_read import read_tagging

#: All that comes before the file: S3's 20 KB of form data, and the headers and boundaries of its parts.
MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_PARTS: Final = 128

_BOUNDARY: Final = re.compile(
    r"""boundary=(?:"([^"\r\n]{1,70})"|([^;,\s"]{1,70})(?=[;,\s]|$))""", re.IGNORECASE
)
_PARAMETER: Final = re.compile(r';\s*(name|filename)=(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))', re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
#: Fields that become headers of the object; `x-amz-*` besides, but for these, which are the signature's.
_CONTENT: Final = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)
_SIGNATURE: Final = frozenset(
    f"x-amz-{part}" for part in ("algorithm", "credential", "date", "security-token", "signature")
)
_MALFORMED: Final = "The body of your POST request is not well-formed multipart/form-data"


class FormError(Exception):
    """A form that is refused; `refusal` says why."""

    def __init__(self, refusal: S3Error) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


def _malformed(why: str) -> FormError:
    return FormError(error(Code.MALFORMED_POST, f"{_MALFORMED}: {why}."))


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names. Raises `FormError`."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise _malformed("there is no boundary")
    return (found[1] or found[2]).encode("latin-1", "replace")


class FormHead:
    """A push parser for what comes before the file's first byte.

    `fields` in order, names as sent · `filename` the file's, as the client named it · `size` bytes of the body before
    the file.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # With the line's end that the first boundary does not need, all boundaries look alike.
        self._buffer = bytearray(b"\r\n")
        self._at = 0
        self.fields: list[tuple[str, str]] = []
        self.filename = ""
        self.size = 0

    @property
    def closing(self) -> bytes:
        """The bytes that must follow the file, and be the last."""
        return self._delimiter + b"--\r\n"

    @property
    def delimiter(self) -> bytes:
        """The bytes that may not come within the file."""
        return self._delimiter

    def feed(self, piece: bytes) -> bytes | None:
        """Take a piece of the body; returns the file's first bytes of it, None while the file has not begun.

        Raises `FormError` for what is malformed, or longer than `MAX_HEAD_BYTES`.
        """
        self._buffer += piece
        while True:
            start = self._at
            name = self._part()
            if name == "file":
                rest = bytes(self._buffer[self._at :])
                self.size = self._at - 2
                self._buffer.clear()
                return rest
            if self._at == start:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    raise FormError(
                        error(
                            Code.MALFORMED_POST,
                            "Your POST request fields preceding the upload file were too large.",
                        )
                    )
                return None

    def _part(self) -> str:
        """Step over one whole part that is a field, or the head of the file; '' when it has not all come."""
        buffer, delimiter = self._buffer, self._delimiter
        begin = self._at + len(delimiter)
        if not delimiter.startswith(bytes(buffer[self._at : begin])):
            raise _malformed("it does not begin with its boundary")
        if len(buffer) < begin + 2:
            return ""
        if buffer[begin : begin + 2] == b"--":
            raise FormError(
                error(Code.INVALID_ARGUMENT, "POST requires exactly one file upload per request.")
            )
        if buffer[begin : begin + 2] != b"\r\n":
            raise _malformed("a boundary does not end its line")
        head_end = buffer.find(b"\r\n\r\n", begin)
        if head_end < 0:
            return ""
        name, filename = _disposition(bytes(buffer[begin:head_end]))
        value_at = head_end + 4
        if name.lower() == "file":
            self.filename, self._at = filename, value_at
            return "file"
        end = buffer.find(delimiter, value_at)
        if end < 0:
            return ""
        if len(self.fields) >= _MAX_PARTS:
            raise _malformed("there are too many fields")
        self.fields.append((name, _text(bytes(buffer[value_at:end]))))
        self._at = end
        return name


def _disposition(head: bytes) -> tuple[str, str]:
    for line in _text(head).split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() != "content-disposition":
            continue
        if not value.strip().lower().startswith("form-data"):
            break
        found = {
            match[1].lower(): re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
            for match in _PARAMETER.finditer(value)
        }
        if found.get("name"):
            return found["name"], found.get("filename", "")
    raise _malformed("a part has no name")


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise _malformed("a field is not UTF-8") from problem


class FileBody:
    """A push parser for the file of `length` bytes and the closing boundary behind it.

    The file's last piece is handed out by `end` alone, once the closing boundary has been seen.
    """

    def __init__(self, head: FormHead, length: int) -> None:
        self._delimiter, self._closing = head.delimiter, head.closing
        self._left = length
        self._tail = bytearray()
        #: The last bytes of what was handed out: a boundary may begin in one piece and end in the next.
        self._seen = b"\r\n"
        self._held = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Give the pieces of the file that may go on. Raises `FormError` when the file is not the last part."""
        if not piece:
            return
        data, rest = piece[: self._left], piece[self._left :]
        self._left -= len(data)
        if data:
            overlap = len(self._delimiter) - 1
            look = self._seen + data[: overlap + 1]
            if self._delimiter in look or self._delimiter in data:
                raise _malformed("the file must be its last part")
            self._seen = (self._seen + data)[-overlap:] if len(data) < overlap else data[-overlap:]
            if self._held:
                yield self._held
            self._held = data
        if rest:
            self._tail += rest
            if not self._closing.startswith(self._tail):
                raise _malformed("the file must be its last part")

    def end(self) -> bytes:
        """The file's last piece, b"" for an empty file. Raises `FormError` when the body ended too soon."""
        if self._left or self._tail != self._closing:
            raise _malformed("it ends too soon")
        return self._held


@dataclass(frozen=True, slots=True)
class FormObject:
    """What a form uploads: `headers` as a PutObject would carry them (not yet judged), and what it answers."""

    key: str
    headers: tuple[tuple[bytes, bytes], ...]
    status: int
    redirect: str | None


def form_object(fields: Mapping[str, str], filename: str) -> FormObject | Refusal:
    """The object of a form; `fields` by lower-case name, `${filename}` in the key not yet replaced."""
    key = form_key(fields, filename)
    if not key:
        return error(Code.INVALID_ARGUMENT, "Bucket POST must contain a field named 'key'.")
    headers: list[tuple[bytes, bytes]] = []
    for name, value in fields.items():
        if name in _CONTENT or (name.startswith("x-amz-") and name not in _SIGNATURE):
            pass
        elif name == "acl":
            name = "x-amz-acl"
        elif name == "tagging":
            tags = read_tagging(value.encode())
            if isinstance(tags, S3Error):
                return tags
            name, value = "x-amz-tagging", urlencode(tags)
        else:
            continue
        if (
            _CONTROL.search(value)
            or not name.isascii()
            or _CONTROL.search(name)
            or " " in name
            or ":" in name
        ):
            return error(Code.INVALID_ARGUMENT, "A field of the form is no header.", ArgumentName=name[:128])
        headers.append((name.encode("ascii"), value.encode("utf-8")))
    status = fields.get("success_action_status", "")
    return FormObject(
        key, tuple(headers), int(status) if status in ("200", "201") else 204, _redirect(fields)
    )


def form_key(fields: Mapping[str, str], filename: str) -> str:
    """The key that a form names; `${filename}` stands for the file's name, without the folders of its machine."""
    name = re.split(r"[/\\]", filename)[-1]
    return fields.get("key", "").replace("${filename}", name)


def _redirect(fields: Mapping[str, str]) -> str | None:
    url = fields.get("success_action_redirect") or fields.get("redirect")
    if not url or not url.isascii() or _CONTROL.search(url) or " " in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None


def redirect_target(url: str, bucket: str, key: str, etag: str) -> bytes:
    """Where a browser is sent after a success: the form's URL with bucket, key and ETag behind it, as S3 adds them."""
    base, mark, fragment = url.partition("#")
    joint = "&" if "?" in base else "?"
    query = f"bucket={quote(bucket)}&key={quote(key, safe='')}&etag={quote(etag, safe='')}"
    return f"{base}{joint}{query}{mark}{fragment}".encode("ascii")
