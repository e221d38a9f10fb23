"""Step 2: who asks. One gate for every form of signature, closed to all else (CVE-2025-31489 and its like)."""

from __future__ import annotations

import time
from typing import Final

import sigv4
from proxy import denials
from proxy.call import Call
from proxy.forms import is_form, open_form
from proxy.s3.errors import Code, Refusal, S3Error, error
from proxy.s3.target import Target
from quota.gate import GateUnavailable

REDIS_GONE: Final = error(
    Code.SLOW_DOWN, "The gate's live state cannot be reached now. Try again in a moment."
)


async def authenticate(call: Call, target: Target | None, *, region: str | None = None) -> S3Error | None:
    """Verify the request's one signature; returns the refusal, or None when it is what it says.

    Then `call.access_key_id` is proven, and either `call.presented` with `call.context`, or `call.form` with its
    policy, is there. `target` None takes no form; `region` other than the gate's own is what a client of MinIO signs
    with. Raises `ClientGone`.
    """
    worker, scope = call.worker, call.scope
    presented: sigv4.Presented | sigv4.PresentedForm
    try:
        if target is not None and is_form(call, target):
            form = await open_form(call)
            if isinstance(form, Refusal):
                return form
            call.form, presented = form, form.presented
        else:
            call.presented = presented = sigv4.parse(
                call.method,
                scope["raw_path"],
                scope["query_string"],
                call.headers,
                now=time.time(),
                region=worker.settings.region if region is None else region,
            )
        call.access_key_id = access_key_id = presented.access_key_id
        credential = worker.credentials.known(access_key_id) or await worker.credentials.find(access_key_id)
        if credential is None or credential.kind == "link":
            return denials.UNKNOWN_KEY
        if isinstance(presented, sigv4.PresentedForm):
            assert call.form is not None
            call.form.policy = presented.verify(credential.secret)
        else:
            call.context = presented.verify(credential.secret)
    except sigv4.SigV4Error as failure:
        return of_signature(failure)
    except GateUnavailable:
        return REDIS_GONE
    return None if credential.has_token(presented.session_token) else error(Code.INVALID_TOKEN)


def of_signature(failure: sigv4.SigV4Error) -> S3Error:
    """Return the error that a client gets for a signature or a body that does not hold."""
    return S3Error(failure.code, failure.status, failure.message, tuple(failure.details.items()))
