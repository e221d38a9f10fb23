"""PostObject: a form of a browser's, authorised by its policy, its file streamed under a hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sigv4
from proxy import bodies
from proxy.admission import admit_change
from proxy.call import XML, Answer, Call, header
from proxy.events import tell
from proxy.mutation import Base, Mutation
from proxy.operations.relaying import base_url, look, path_of
from proxy.operations.writing import settled
from proxy.s3 import xml_write
from proxy.s3.errors import Refusal, S3Error
from proxy.s3.headers import forward_headers, permission_needed
from proxy.s3.operation_table import BY_NAME
from proxy.s3.post_form import FormObject, form_key, form_object, redirect_target
from proxy.s3.target import encode_key, key_problem, physical_problem
from proxy.upstream import Exchange, UpstreamError
from quota import Route

if TYPE_CHECKING:
    from proxy.forms import Form


async def post_object(call: Call) -> Answer | S3Error:
    """PostObject."""
    form = call.form
    assert form is not None
    assert form.policy is not None
    bucket = call.plan.bucket or ""
    key = form_key(form.fields, form.filename)
    form.policy.check({**form.fields, "key": key}, bucket=bucket)
    form.policy.check_length(form.length)
    uploaded = form_object(form.fields, form.filename)
    if isinstance(uploaded, Refusal):
        return uploaded
    problem = key_problem(uploaded.key)
    if problem is not None:
        return problem
    headers = forward_headers(BY_NAME["PutObject"], uploaded.headers)
    if isinstance(headers, Refusal):
        return headers
    call.plan = call.plan.of_form(
        uploaded.key,
        encode_key(uploaded.key),
        headers,
        permission_needed(BY_NAME["PutObject"], headers),
        form.length,
    )
    return await _store(call, form, uploaded)


async def _store(call: Call, form: Form, uploaded: FormObject) -> Answer | S3Error:
    plan = call.plan
    route: Route | None = None

    async def look_now() -> Base:
        assert route is not None
        return await look(call, route, plan.key)

    mutation = await admit_change(call, "put", look_now, size=form.length, objects=1)
    if isinstance(mutation, S3Error):
        return mutation
    with mutation:
        route = call.admitted.route
        problem = physical_problem(route.prefix, plan.key)
        if problem is not None:
            return problem
        exchange = await _send(call, form, mutation, path_of(route, plan.key))
        answer = await settled(call, mutation, exchange, form.length, 1)
    if isinstance(answer, S3Error):
        return answer
    tell(call, "ObjectCreated:Post", size=form.length, headers=answer.headers)
    return _answer(call, uploaded, answer)


async def _send(call: Call, form: Form, mutation: Mutation, path: bytes) -> Exchange:
    await mutation.ensure_room()
    mutation.start_reading()
    node = await call.worker.nodes.find(call.admitted.route.node)
    headers = [*call.plan.headers, (b"content-length", b"%d" % form.length)]
    try:
        return await call.worker.nodes.request(
            node,
            b"PUT",
            path,
            b"",
            headers,
            payload_sha256=sigv4.UNSIGNED_PAYLOAD,
            body=bodies.telling_base(mutation, form.file(_release(call, mutation))),
        )
    except UpstreamError as failure:
        if not failure.body_sent:
            mutation.not_sent()
        raise


def _release(call: Call, mutation: Mutation) -> bodies.Release:
    async def release() -> None:
        await mutation.may_release()
        call.check()

    return release


def _answer(call: Call, uploaded: FormObject, stored: Answer) -> Answer:
    bucket = call.plan.bucket or ""
    etag = (header(stored.headers, b"etag") or b"").decode("latin-1")
    kept = tuple(pair for pair in stored.headers if pair[0] in (b"etag", b"x-amz-version-id"))
    if uploaded.redirect is not None:
        where = redirect_target(uploaded.redirect, bucket, uploaded.key, etag)
        return Answer(303, (*kept, (b"location", where)))
    location = f"{base_url(call)}/{bucket}/{call.plan.raw_key.decode('ascii')}"
    kept += ((b"location", location.encode("latin-1", "replace")),)
    if uploaded.status == 201:
        return Answer(201, (*XML, *kept), xml_write.post_response(bucket, uploaded.key, etag, location))
    return Answer(uploaded.status, kept)
