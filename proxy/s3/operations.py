"""Which operation a request is: from method, scope, query and headers, to exactly one row of the table.

What is not recognised is refused and never forwarded: a node newer than this table might take an unknown
sub-resource for something that the gate did not authorise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.s3.errors import Code, S3Error, error
from proxy.s3.operation_table import (
    BY_NAME,
    OPERATIONS,
    Body,
    Disposition,
    Operation,
    Scope,
)
from proxy.s3.target import Query
from quota.answers import Permission

__all__ = [
    "BY_NAME",
    "OPERATIONS",
    "PARAMETERS",
    "SUBRESOURCES",
    "Body",
    "Disposition",
    "Operation",
    "Permission",
    "Query",
    "Scope",
    "identify",
    "not_implemented",
]

_BAND: Final = frozenset({"id"})
#: Parameters that choose the operation.
SUBRESOURCES: Final[frozenset[str]] = (
    frozenset(name for operation in OPERATIONS for name, _ in operation.markers) - _BAND
)
#: Parameters that S3 defines for some operation and that choose none; one that is not of this operation is
#: ignored, as S3 does, and never forwarded.
PARAMETERS: Final[frozenset[str]] = (
    frozenset(name for operation in OPERATIONS for name in operation.query) - SUBRESOURCES
) | frozenset(
    {
        "id",
        "x-id",  # SDKs repeat the operation's name in it
        "select-type",
        "versionId",
        "max-annotation-results",
        "annotation-prefix",
    }
)
_AUTHENTICATION: Final = "x-amz-"
#: A part number chooses the operation for a PUT alone; a GET or HEAD reads one part by it.
_PART_NUMBER: Final = "partNumber"

_UNKNOWN: Final = Operation("Unknown", "", Scope.SERVICE, disposition=Disposition.REFUSED, command="wio mc")


def _index() -> dict[tuple[str, Scope, frozenset[str]], list[Operation]]:
    table: dict[tuple[str, Scope, frozenset[str]], list[Operation]] = {}
    for operation in OPERATIONS:
        names = frozenset(name for name, _ in operation.markers)
        table.setdefault((operation.method, operation.scope, names), []).append(operation)
    for rows in table.values():
        # A row that also asks for a header is the more particular one.
        rows.sort(key=lambda operation: operation.header is None)
    return table


_TABLE: Final = _index()
# Reading a member from its class costs more than a call; these are read for every request.
_SERVICE: Final = Scope.SERVICE
_BUCKET: Final = Scope.BUCKET
_OBJECT: Final = Scope.OBJECT
_FORM: Final = Body.FORM
_NO_MARKERS: Final[frozenset[str]] = frozenset()


def identify(
    method: str, has_bucket: bool, has_key: bool, query: Query, headers: Mapping[str, str]
) -> Operation:
    """The operation of a request; one that is refused (`Unknown` when no row fits) for all that is not handled.

    `method` as received, upper case · `headers` by lower-case name. Names of sub-resources are
    case-sensitive, as in S3. `?prefix=` and other parameters never decide what is read or written: the key
    comes from the path alone.
    """
    scope = _OBJECT if has_key else _BUCKET if has_bucket else _SERVICE
    names = _NO_MARKERS
    if query.meant:
        chosen = []
        for name, _ in query.meant:
            if name in SUBRESOURCES and not (name == _PART_NUMBER and method in ("GET", "HEAD")):
                chosen.append(name)
            elif name not in PARAMETERS and name != _PART_NUMBER and name[:6].lower() != _AUTHENTICATION:
                return _UNKNOWN
        if "id" in query.by_name:
            chosen.append("id")
        if "annotationName" in chosen and "annotation" in chosen:
            chosen.remove("annotation" if method == "GET" else "annotationName")
        if chosen:
            names = frozenset(chosen)
    rows = _TABLE.get((method, scope, names))
    if rows is None and "id" in names:
        rows = _TABLE.get((method, scope, names - _BAND))
    if rows is None:
        return _UNKNOWN
    for row in rows:
        if row.header is not None and row.header not in headers:
            continue
        if not row.markers or all(value is None or query.get(name) == value for name, value in row.markers):
            if row.body is _FORM and not headers.get("content-type", "").lower().startswith(
                "multipart/form-data"
            ):
                continue
            return row
    return _UNKNOWN


def not_implemented(operation: Operation, query: Query) -> S3Error:
    """501 NotImplemented for a refused operation, naming the `wio` command that does the thing."""
    if operation.name == "Unknown":
        odd = next((name for name in query.by_name if name not in PARAMETERS), None)
        what = f"A request with the parameter {odd[:64]!r}" if odd else "This request"
        return error(
            Code.NOT_IMPLEMENTED, f"{what} is not implemented. Working with objects: {_UNKNOWN.command}."
        )
    return error(
        Code.NOT_IMPLEMENTED,
        f"{operation.name} is not implemented, because a workspace is a prefix in a bucket. "
        f"See: {operation.command}.",
    )
