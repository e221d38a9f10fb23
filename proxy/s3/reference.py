"""The reference page of operations, made from the table that the code runs on.

`python -m proxy.s3.reference` writes docs/s3-operations.md; a test holds the page to the table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from proxy.s3.headers import ALREADY_SO, FORWARDED, METADATA_OPERATIONS, REFUSED, RELAYED
from proxy.s3.operation_table import OPERATIONS, Disposition, Operation

PAGE: Final = Path("docs/s3-operations.md")

_DOES: Final = {
    Disposition.HANDLED: "handled",
    Disposition.UNCONFIGURED: "as an unconfigured bucket",
    Disposition.REFUSED: "501",
}


def request_line(operation: Operation) -> str:
    """How an operation looks on the wire, in short."""
    path = {"service": "/", "bucket": "/BUCKET", "object": "/BUCKET/KEY"}[operation.scope.value]
    query = "&".join(f"{name}={value}" if value else name for name, value in operation.markers)
    header = f" with `{operation.header}`" if operation.header else ""
    return f"`{operation.method} {path}{'?' + query if query else ''}`{header}"


def _row(operation: Operation) -> str:
    refused = operation.disposition is Disposition.REFUSED
    needs = operation.permission.word if operation.permission and not refused else "-"
    does = _DOES[operation.disposition] + (f": `{operation.command}`" if refused else "")
    return f"| {operation.name} | {request_line(operation)} | {needs} | {does} |"


def _order(operation: Operation) -> tuple[bool, str]:
    return operation.disposition is not Disposition.HANDLED, operation.name


def _codes(names: frozenset[str] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def page() -> str:
    """The whole page, in Markdown."""
    handled = [operation for operation in OPERATIONS if operation.disposition is Disposition.HANDLED]
    lines = [
        "# S3 operations",
        "",
        "<!-- made by `python -m proxy.s3.reference`; change proxy/s3/operation_table.py instead -->",
        "",
        "What the gate does with every operation of S3. A workspace is a bucket to its clients and a prefix at its",
        "node, so that settings of a bucket read as those of an unconfigured one and cannot be written: the answer",
        "is then `501 NotImplemented`, naming the command that does the thing. What is not in this table is refused",
        "the same way, and never forwarded.",
        "",
        "*Needs* is the permission on the workspace; a copy needs `read` on its source besides.",
        "",
        "| operation | request | needs | answer |",
        "|---|---|---|---|",
        *(
            _row(operation)
            for operation in sorted(
                OPERATIONS, key=lambda row: (row.disposition.value != "handled", row.name)
            )
        ),
        "",
        "## Parameters that reach the node",
        "",
        "Upload ids, part numbers, prefixes and markers are translated; all others are dropped.",
        "",
        "| operation | parameters |",
        "|---|---|",
        *(f"| {operation.name} | {_codes(operation.query)} |" for operation in handled if operation.query),
        "",
        "## Request headers that reach the node",
        "",
        "| operation | headers |",
        "|---|---|",
        *(
            f"| {name} | {_codes(headers)}{', `x-amz-meta-*`' if name in METADATA_OPERATIONS else ''} |"
            for name, headers in FORWARDED.items()
        ),
        "",
        "`Content-Encoding` loses `aws-chunked`. `x-amz-server-side-encryption` is forwarded as `AES256` only. Any",
        "other `x-amz-*` header refuses a write.",
        "",
        "## Request headers that are accepted for one value",
        "",
        "They then ask for what holds anyway, and are not forwarded; another value is `501`.",
        "",
        "| header | accepted | else |",
        "|---|---|---|",
        *(f"| `{name}` | {_codes(values)} | `{command}` |" for name, (values, command) in ALREADY_SO.items()),
        "",
        "## Request headers that are refused",
        "",
        "| header | instead |",
        "|---|---|",
        *(f"| `{name}` | `{command}` |" for name, command in REFUSED.items()),
        "",
        "## Headers of the answer that reach the client",
        "",
        f"{_codes(RELAYED)}, `x-amz-meta-*`, `x-amz-checksum-*`.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
