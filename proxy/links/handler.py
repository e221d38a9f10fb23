"""Requests under `/-/l/`: who holds the URL (and the password, where there is one) may do what the link says.

There is no signature, but everything else is as for anybody: the same decision by the same script at each request, the
same table of transfers that a revocation cuts, the same holds and quotas.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, unquote

from proxy import whole_bodies
from proxy.authentication import REDIS_GONE
from proxy.call import Answer, Call, Headers, Receive, Scope, header
from proxy.handler import Handler
from proxy.links import pages
from proxy.links.dropping import UNSIGNED, open_drop, unique_name
from proxy.links.files import as_file
from proxy.links.link import PREFIX, Link, Place, find_link, parse_place
from proxy.links.listing import read_page
from proxy.links.password import Passwords, Verdict
from proxy.operations import RUNNERS
from proxy.operations.reading import read_object
from proxy.operations.writing import put_object
from proxy.s3.errors import Code, Refusal, S3Error, error
from proxy.s3.plan import make_plan
from proxy.s3.target import Query, Target, encode_key, key_problem, parse_query
from proxy.worker import Worker
from quota import Denial, Outcome
from quota.gate import GateUnavailable
from quota.waiting import afterwards
from sigv4 import SigV4Error

_CONDITIONS: Final = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")
_FORM_BYTES: Final = 4096
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")

GONE: Final = error(Code.NO_SUCH_KEY, "This link does not exist, or has ended.")
NO_FILE: Final = error(Code.NO_SUCH_KEY, "There is no such file.")
USED_UP: Final = S3Error("LinkUsedUp", 410, "This link has been used as often as it may be.")
FULL: Final = S3Error("LinkFull", 413, "There is no room for this file.")
NAME_TOO_LONG: Final = S3Error("LinkNameTooLong", 400, "The name of this file is too long.")
NOT_ALLOWED: Final = error(Code.METHOD_NOT_ALLOWED, "This link does not do that.")
#: What strangers are told, whose business it is not who owns what or how full it is.
_TOLD: Final = {
    "AccessDenied": GONE,
    "InvalidAccessKeyId": GONE,
    "KeyTooLongError": NO_FILE,
    "NoSuchBucket": GONE,
    "NoSuchKey": NO_FILE,
    "QuotaExceeded": FULL,
    "OperationAborted": S3Error("SlowDown", 503, "This cannot be done now. Try again later."),
}


class LinkHandler(Handler):
    """Answers strangers; one for a worker."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._passwords = Passwords(worker)

    async def __call__(self, scope: Scope, receive: Receive) -> None:
        place = parse_place(scope["raw_path"])
        # The token is a secret: nothing that logs or answers may see it.
        named = place.token.partition(b".")[0] if place is not None else b"-"
        scope = {**scope, "raw_path": PREFIX + named, "wio.place": place}
        await super().__call__(scope, receive)

    async def _serve(self, call: Call) -> S3Error | None:
        place: Place | None = call.scope["wio.place"]
        call.operation = "Link"
        call.dress = _for_strangers
        try:
            link = await find_link(self._worker, place) if place is not None else None
            if place is None or link is None:
                return GONE
            call.access_key_id = link.id
            bucket = await self._bucket(link)
            if bucket is None:
                return GONE
            answer = await self._locked(call, link, place) or await self._open(call, link, place, bucket)
        except GateUnavailable:
            return REDIS_GONE
        if isinstance(answer, Answer):
            await call.answer(answer)
            return None
        return answer

    async def _bucket(self, link: Link) -> str | None:
        """Return the workspace's name, if the link still opens it; asked before anything is shown."""
        gate = self._worker.gate
        record = await gate.record("WORKSPACES", link.workspace)
        if record is None or not record["names"]:
            return None
        bucket: str = record["names"][0]
        admitted = await gate.admit_read(link.id, bucket, 1)
        if isinstance(admitted, Denial):
            if admitted.code == "NotReady":
                raise GateUnavailable("the live state is not ready")
            return None
        return bucket

    async def _locked(self, call: Call, link: Link, place: Place) -> Answer | S3Error | None:
        """Return what is answered instead, to somebody who has not shown the password; None to let them in."""
        verdict = await self._passwords.judge(link, call.headers)
        kind = header(call.headers, b"content-type") or b""
        if (
            verdict is Verdict.ASK
            and call.method == "POST"
            and kind.startswith(b"application/x-www-form-urlencoded")
        ):
            try:
                call.presented = UNSIGNED
                body = await whole_bodies.whole(call, _FORM_BYTES)
            except SigV4Error:
                return error(Code.INVALID_REQUEST, "That is too much for a password.")
            given = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
            verdict = await self._passwords.check(link, given)
            if verdict is Verdict.PASS:
                cookie = self._passwords.cookie(link, place.root, scheme=call.scope["scheme"])
                where = place.root + b"/" + place.name + _below(place)
                return Answer(303, ((b"location", where), (b"set-cookie", cookie), *pages.COMMON))
        if verdict is Verdict.PASS:
            return None
        if isinstance(verdict, S3Error):
            return verdict
        if _wants_page(call):
            # 401 without a challenge: browsers would ask in a window of their own.
            page = pages.ask_password("A password is needed", wrong=verdict is Verdict.WRONG)
            return Answer(401, pages.PAGE_HEADERS, page)
        challenge = (b"www-authenticate", b'Basic realm="link", charset="UTF-8"')
        return Answer(401, (_TEXT, challenge, *pages.COMMON), b"A password is needed.\n")

    async def _open(self, call: Call, link: Link, place: Place, bucket: str) -> Answer | S3Error | None:
        method = call.method
        if link.mode == "upload":
            if method in ("GET", "HEAD") and not place.rest:
                return Answer(200, pages.PAGE_HEADERS, pages.drop_box(link.title, None, link.max_bytes))
            if method in ("PUT", "POST"):
                return await self._drop(call, link, place, bucket)
            return NOT_ALLOWED
        if method not in ("GET", "HEAD"):
            return NOT_ALLOWED
        if not link.is_folder:
            return await self._fetch(call, link, bucket, link.key) if not place.rest else NO_FILE
        if place.rest is None:
            where = place.root + b"/" + (place.name or b"files") + b"/"
            return Answer(302, ((b"location", where), *pages.COMMON))
        if not place.rest or place.rest.endswith("/"):
            return await self._list(call, link, bucket, place.rest)
        return await self._fetch(call, link, bucket, link.key + place.rest)

    async def _fetch(self, call: Call, link: Link, bucket: str, key: str) -> Answer | S3Error | None:
        problem = key_problem(key)
        if problem is not None:
            return NO_FILE
        kept = _CONDITIONS if link.max_downloads is not None else (*_CONDITIONS, b"range")
        # Where downloads are counted, each is of the whole file: parts could be fetched without being one.
        headers = [(name, value) for name, value in call.headers if name in kept]
        plan = make_plan(call.method, Target(bucket, encode_key(key), key, Query()), headers)
        if isinstance(plan, Refusal):
            return plan
        call.plan = plan
        begins = (header(headers, b"range") or b"bytes=0-").startswith(b"bytes=0-")
        gate, counts = self._worker.gate, call.method == "GET" and begins
        if counts:
            counted = await gate.count_link(link.id, "d", 1)
            if isinstance(counted, Denial):
                return GONE
            if not counted.is_counted:
                return USED_UP
        save = "download" in parse_qs(call.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        call.dress = as_file(key.rpartition("/")[2], save=save)

        async def give_back() -> None:
            if counts and not call.bytes_out and call.status != 200:
                # Nothing was fetched, because nothing is there, or because they have it already.
                await gate.count_link(link.id, "d", -1)

        return await afterwards(self.carry_out(call, read_object), give_back)

    async def _list(self, call: Call, link: Link, bucket: str, below: str) -> Answer | S3Error:
        prefix = link.key + below
        if key_problem(prefix) is not None:
            return NO_FILE
        page = parse_qs(call.scope["query_string"].decode("latin-1")).get("page", [""])[0]
        asked = b"list-type=2&delimiter=%2F&encoding-type=url&max-keys=1000&prefix=" + encode_key(prefix)
        if page:
            asked += b"&continuation-token=" + encode_key(page).replace(b"/", b"%2F")
        query = parse_query(asked)
        plan = query if isinstance(query, Refusal) else make_plan("GET", Target(bucket, b"", "", query), [])
        if isinstance(plan, Refusal):
            return plan
        call.plan = plan
        answer = await self.carry_out(call, RUNNERS[plan.operation.name])
        if not isinstance(answer, Answer):
            return answer or NO_FILE
        entries, more = read_page(answer.body, prefix)
        if not entries and below and not page:
            return NO_FILE
        title = prefix.rstrip("/").rpartition("/")[2] or link.title
        return Answer(200, pages.PAGE_HEADERS, pages.folder(title, entries, is_top=not below, more=more))

    async def _drop(self, call: Call, link: Link, place: Place, bucket: str) -> Answer | S3Error | None:
        sent = dict(reversed(call.headers))
        is_form = call.method == "POST"
        if is_form:
            opened = await open_drop(call, sent)
            if isinstance(opened, S3Error):
                return opened
            given, size = opened
        else:
            given, length = (
                (place.rest or unquote(place.name.decode("ascii", "replace"), errors="replace")),
                sent.get(b"content-length", b""),
            )
            if not length.isdigit() or len(length) > 19:
                return error(Code.MISSING_CONTENT_LENGTH)
            size = int(length)
        name = unique_name(given)
        key = link.key + name
        headers = [
            (b"content-length", b"%d" % size),
            (b"content-type", b"application/octet-stream"),
            (b"if-none-match", b"*"),
        ]
        plan = make_plan("PUT", Target(bucket, encode_key(key), key, Query()), headers)
        if isinstance(plan, Refusal):
            return FULL if plan.code == "EntityTooLarge" else plan
        call.plan, call.presented = plan, UNSIGNED
        gate = self._worker.gate
        counted = await gate.count_link(link.id, "b", size)
        if isinstance(counted, Denial):
            return GONE
        if not counted.is_counted:
            return FULL

        async def give_back() -> None:
            if call.mutation is None or call.mutation.outcome is Outcome.NONE:
                await gate.count_link(link.id, "b", -size)

        answer = await afterwards(self.carry_out(call, put_object), give_back)
        if not isinstance(answer, Answer):
            # How long a key may be tells how long the prefix before it is.
            return NAME_TOO_LONG if answer is not None and answer.code == "KeyTooLongError" else answer
        if is_form and _wants_page(call):
            return Answer(200, pages.PAGE_HEADERS, pages.drop_box(link.title, name, link.max_bytes))
        return Answer(201, (_TEXT, *pages.COMMON), name.encode() + b"\n")

    async def _refuse(self, call: Call, refusal: S3Error) -> None:
        told = _TOLD.get(refusal.code, refusal)
        call.code = refusal.code
        if call.status:
            call.connection.abort()
            return
        status = told.status if told.status != 500 else 502
        retry = tuple(pair for pair in told.headers if pair[0] == b"retry-after")
        headers: tuple[tuple[bytes, bytes], ...]
        if _wants_page(call):
            headers, body = (*retry, *pages.PAGE_HEADERS), pages.message("That did not work", told.message)
        else:
            headers, body = (*retry, _TEXT, *pages.COMMON), told.message.encode() + b"\n"
        await call.answer(Answer(status, headers, body))


def _for_strangers(_status: int, headers: Headers) -> Headers:
    # How full the owner's quota is is nobody's business here.
    return [pair for pair in headers if pair[0] != b"x-wio-quota-warning"]


def _wants_page(call: Call) -> bool:
    return b"text/html" in (header(call.headers, b"accept") or b"")


def _below(place: Place) -> bytes:
    return b"" if place.rest is None else b"/" + encode_key(place.rest)
