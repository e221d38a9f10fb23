"""Which modules the compiled build holds: those that a request passes through, one line to add another.

Not every module can be compiled. mypyc knows no asynchronous generators, no `enum` whose members have an
`__init__`, no class over a builtin or foreign base (`OSError`, `httpx.AsyncBaseTransport`), and nothing may be
assigned to a function or class of a compiled module from outside. What has to wait while an error is on its way calls
`quota/waiting.py`. What is left out for one of these is named in
`LEFT_OUT`, so that nobody tries it again in vain; modules in neither are not on the path of requests.
"""

from __future__ import annotations

from typing import Final

SIGV4: Final = (
    "sigv4.amz_date",
    "sigv4.authorization_v4",
    "sigv4.aws_chunked_encoder",
    "sigv4.aws_chunked_stream",
    "sigv4.canonical",
    "sigv4.claims",
    "sigv4.keys",
    "sigv4.presented",
    "sigv4.presigned_url_v4",
    "sigv4.sign",
)
QUOTA: Final = (
    "quota.answers",
    "quota.gate",
    "quota.ids",
    "quota.layout",
    "quota.uses",
    "quota.wire",
)
PROXY: Final = (
    "proxy.access_log",
    "proxy.admission",
    "proxy.app",
    "proxy.audit",
    "proxy.authentication",
    "proxy.call",
    "proxy.credentials",
    "proxy.events",
    "proxy.fair_share",
    "proxy.guard",
    "proxy.handler",
    "proxy.links.handler",
    "proxy.metrics",
    "proxy.mutation",
    "proxy.nodes",
    "proxy.operations.reading",
    "proxy.operations.relaying",
    "proxy.operations.upload_names",
    "proxy.operations.writing",
    "proxy.s3.headers",
    "proxy.s3.names",
    "proxy.s3.operations",
    "proxy.s3.payload",
    "proxy.s3.plan",
    "proxy.s3.target",
    "proxy.server.cycle",
    "proxy.server.protocol",
    "proxy.server.target",
    "proxy.sweep",
    "proxy.transfers",
    "proxy.upstream.connection",
    "proxy.upstream.exchange",
    "proxy.upstream.head",
    "proxy.upstream.origin",
    "proxy.upstream.pool",
    "proxy.upstream.transport",
    "proxy.whole_bodies",
)
#: All of them, compiled together: a call from one to another is then a call of C.
HOT: Final = SIGV4 + QUOTA + PROXY

#: On the path of requests, and why it stays plain.
LEFT_OUT: Final = {
    "proxy.bodies": "asynchronous generators",
    "proxy.passing": "a class over one that is not compiled",
    "proxy.s3.errors": "an enum whose members have an __init__",
    "proxy.splicing": "classes whose slots others share, and no work for each byte",
    "proxy.upstream.errors": "exceptions of httpx's",
    "quota.lease": "little work, and a class that tests put others in the place of",
    "sigv4.amz_content_sha256": "an enum whose members have an __init__",
}
