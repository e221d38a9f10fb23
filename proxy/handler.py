"""A request from its first byte to its last, in the seven steps of the design (section 4): read from top to bottom."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

import sigv4
from proxy import denials
from proxy.authentication import REDIS_GONE, authenticate, of_signature
from proxy.call import Answer, Call, ClientGone, Receive, Scope
from proxy.fair_share import FairShare
from proxy.guard import current_guard
from proxy.minio_quota import PATH as MINIO_QUOTA
from proxy.minio_quota import serve_quota
from proxy.mutation import Denied
from proxy.nodes import NodeUnknown
from proxy.operations import RUNNERS, Runner
from proxy.operations.relaying import LeadsBack
from proxy.s3.errors import BadNodeAnswer, Code, Refusal, S3Error, error
from proxy.s3.plan import make_plan
from proxy.s3.post_form import FormError
from proxy.s3.target import parse_target
from proxy.s3.via import LOOP
from proxy.server import ClientDisconnected
from proxy.upstream import ConnectError, ConnectTimeout, PoolTimeout, UpstreamError
from proxy.whole_bodies import NoRoom
from proxy.worker import Worker
from quota.gate import GateUnavailable

log = structlog.get_logger("proxy.handler")

NODE_GONE: Final = error(Code.SERVICE_UNAVAILABLE, "The storage behind this workspace cannot be reached now.")
NODE_FAILED: Final = error(
    Code.INTERNAL_ERROR, "The storage behind this workspace did not answer as it should."
)
NO_CORS: Final = error(Code.ACCESS_FORBIDDEN)
FORM_ALONE: Final = error(Code.INVALID_ARGUMENT, "Only one auth mechanism allowed; a form has its own.")
TOO_MANY: Final = error(
    Code.SLOW_DOWN, "This credential has too many requests at once. Wait for some to end."
)

NO_ROOM: Final = error(Code.SLOW_DOWN, "Too many documents are being read at once. Try again in a moment.")


class Handler:
    """Answers S3 requests; one for a worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        settings = worker.settings
        self._shares = FairShare(
            requests_at_most=settings.transfers_per_credential,
            bytes_at_most=settings.held_bytes_per_credential,
        )

    async def __call__(self, scope: Scope, receive: Receive) -> None:
        call = Call(self._worker, scope, receive)
        try:
            refusal = await (serve_quota if scope["raw_path"] == MINIO_QUOTA else self._serve)(call)
            if refusal is not None:
                await self._refuse(call, refusal)
        except (ClientGone, ClientDisconnected):
            call.connection.abort()
        except asyncio.CancelledError:
            call.connection.abort()
            if call.task is None or not call.connection.is_disconnected:
                raise
            # Ours, by `Call.stop`: this request ends here, and nothing else does.
            call.task.uncancel()
        finally:
            if call.transfer is not None:
                call.let_go()
                self._worker.transfers.finish(call.transfer)
                # The task goes on with the connection's next request.
                current_guard.set(None)
            call.give_back()
            self._worker.audit.ended(call)
            self._record(call)
            call.drop()

    async def _serve(self, call: Call) -> S3Error | None:
        """Carry a request out. Returns what is to be refused; None when it has been answered."""
        worker, scope, headers = self._worker, call.scope, call.headers

        # 1. Parse, once: what is authorised below is what is forwarded.
        target = parse_target(
            scope["raw_path"], scope["query_string"], _host(headers), domains=worker.settings.domains
        )
        if isinstance(target, Refusal):
            return target

        if call.method == "OPTIONS":
            # Asked by browsers, which sign nothing; the same for every bucket, whether there is one or not.
            return NO_CORS

        # 2. Verify.
        refusal = await authenticate(call, target)
        if refusal is not None:
            return refusal

        # 3. Plan.
        plan = make_plan(call.method, target, headers, worker.via)
        if isinstance(plan, Refusal):
            return plan
        call.plan, operation = plan, plan.operation
        call.operation = operation.name
        if (call.form is not None) != (operation.name == "PostObject"):
            # A form's policy says nothing of any other operation, and no other signature anything of a form.
            return FORM_ALONE

        # 4. Admit, 5. forward, 6. relay, 7. settle: by what the operation is.
        answer = await self.carry_out(call, RUNNERS[operation.name])
        if isinstance(answer, Answer):
            await call.answer(answer)
            return None
        return answer

    async def carry_out(self, call: Call, runner: Runner) -> Answer | S3Error | None:
        """Do what is planned, for a credential that is proven; every malfunction becomes the error that clients get."""
        plan = call.plan
        access_key_id = call.access_key_id
        size = max(0, plan.adds_bytes)
        if not self._shares.take(access_key_id, size):
            return TOO_MANY
        try:
            return await runner(call)
        except Denied as denied:
            return denials.explain(denied.denial, plan.bucket or "")
        except sigv4.SigV4Error as failure:
            return of_signature(failure)
        except FormError as failure:
            return failure.refusal
        except NoRoom:
            return NO_ROOM
        except GateUnavailable:
            return REDIS_GONE
        except (ConnectError, ConnectTimeout, PoolTimeout) as failure:
            log.warning("node_unreachable", request_id=call.request_id.decode(), error=type(failure).__name__)
            return NODE_GONE
        except LeadsBack:
            return LOOP
        except (UpstreamError, NodeUnknown, BadNodeAnswer) as failure:
            log.warning("node_failed", request_id=call.request_id.decode(), error=type(failure).__name__)
            return NODE_FAILED
        finally:
            self._shares.give_back(access_key_id, size)

    async def _refuse(self, call: Call, refusal: S3Error) -> None:
        call.code = refusal.code
        if call.status:
            # The answer had begun: an end that looks clean would make a short body look whole.
            call.connection.abort()
            return
        await call.refuse(refusal)

    def _record(self, call: Call) -> None:
        seconds = time.perf_counter() - call.started
        client = call.scope.get("client")
        self._worker.metrics.request(
            call.operation, call.status, call.code, seconds, call.bytes_in, call.bytes_out
        )
        self._worker.access_log.request(
            call.request_id,
            client[0] if client else "-",
            call.access_key_id,
            call.admitted.user if call.is_admitted else "-",
            call.method,
            call.scope["raw_path"],
            call.operation,
            call.status,
            call.code,
            call.bytes_in,
            call.bytes_out,
            seconds,
        )


def _host(headers: list[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"host":
            return value
    return b""
