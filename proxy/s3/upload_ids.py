"""Upload ids as clients see them: ours, sealed (protocol, rule 10).

An id binds the workspace, the key, the node and the node's own id, so that it opens nothing else, wherever it
is presented; a node's own id shows the deployment and would be worth something elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from proxy.s3.errors import Code, Refusal, error

#: An id longer than any that the gate makes is not looked at.
MAX_ID: Final = 4096
#: What a seal must be bound to besides its content, so that nothing else sealed passes for an upload id.
AAD: Final = b"upload"

_URL_SAFE: Final = re.compile(r"[A-Za-z0-9_.~-]+")


@dataclass(frozen=True, slots=True)
class UploadId:
    """What an id stands for."""

    workspace: str
    key: str
    node: str
    node_upload_id: str
    #: Tells apart two uploads that a node would give one id; the gate's own record of the upload.
    id: str = ""


def make_upload_id(upload: UploadId, seal: Callable[[bytes], str]) -> str:
    """The id for the client: URL-safe text. `seal` encrypts and authenticates, bound to `AAD`."""
    fields = [upload.workspace, upload.key, upload.node, upload.node_upload_id, upload.id]
    sealed = seal(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
    if _URL_SAFE.fullmatch(sealed):
        return "1." + sealed
    return "2." + base64.urlsafe_b64encode(sealed.encode("utf-8")).decode("ascii").rstrip("=")


def read_upload_id(text: str, key: str, open_sealed: Callable[[str], bytes | None]) -> UploadId | Refusal:
    """What `text` stands for, if it was made here for this key; else 404 NoSuchUpload.

    `open_sealed` undoes the seal and gives None for what it did not make. The workspace is known only after
    admission: the caller compares it then.
    """
    unknown = error(Code.NO_SUCH_UPLOAD)
    if len(text) > MAX_ID or not _URL_SAFE.fullmatch(text) or text[:2] not in ("1.", "2."):
        return unknown
    sealed = text[2:]
    if text[0] == "2":
        try:
            sealed = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)).decode("utf-8")
        except (binascii.Error, ValueError):
            return unknown
    content = open_sealed(sealed)
    if content is None:
        return unknown
    try:
        fields = json.loads(content)
    except ValueError:
        return unknown
    if (
        not isinstance(fields, list)
        or len(fields) != 5
        or not all(isinstance(field, str) for field in fields)
    ):
        return unknown
    upload = UploadId(*fields)
    return upload if upload.key == key else unknown
