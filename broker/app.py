"""The control plane as an ASGI application: routes, errors, health, and what runs beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from starlette.exceptions import HTTPException

from broker import account, journal, sts
from broker.asgi import Metrics, RequestFrame
from broker.assemble import open_broker
from broker.audit import api as audit
from broker.audit import intake
from broker.auth import Unauthenticated, authenticate
from broker.context import Broker
from broker.errors import ApiError
from broker.groups import api as groups
from broker.handlers import call_handlers
from broker.keys import api as keys
from broker.links import api as links
from broker.logs import configure, request_id
from broker.nodes import api as nodes
from broker.oidc import OidcVerifier
from broker.passwords import Throttle
from broker.patience import stop_tasks
from broker.quotas import api as quotas
from broker.quotas.recount import DRIFT_BYTES, DRIFT_OBJECTS, RECOUNTS
from broker.rehydrate import Rehydrator
from broker.roots import api as roots
from broker.sessions import api as sessions
from broker.settings import Settings
from broker.shares import api as shares
from broker.users import api as users
from broker.workspaces import api as workspaces
from quota import LiveStateError
from quota.calls import CallServer

_log = structlog.get_logger(__name__)
_SLICES = (account, users, groups, keys, nodes, roots, workspaces, shares, sessions, links, quotas, audit)
_PARAMETERS = 100
#: Seconds before work beside the requests that failed is started again.
RESTART_SECONDS = 1.0
Work = Callable[[], Awaitable[None]]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; settings from the environment unless given. Nothing is opened before its lifespan."""
    chosen = settings or Settings()
    metrics = Metrics()
    for counter in (RECOUNTS, DRIFT_BYTES, DRIFT_OBJECTS):
        metrics.registry.register(counter)
    app = FastAPI(
        title="wio gate",
        summary="Who may touch what, right now: users, keys, nodes, roots, workspaces, shares, quotas, links.",
        description=(
            "Sign requests with SigV4 (service `wio`), or use HTTP Basic with an access key id and its secret. "
            'Failures are `{"error": {"code", "message", "request_id"}}`.'
        ),
        docs_url="/api/docs",
        redoc_url=None,
        # A redirect would repeat whatever Host the client sent.
        redirect_slashes=False,
        openapi_url="/api/openapi.json",
        lifespan=_lifespan,
    )
    app.state.settings = chosen
    app.state.throttle = Throttle()
    api = APIRouter(prefix="/api/v1")
    for part in _SLICES:
        api.include_router(part.router)
    app.include_router(api)
    app.include_router(_health(metrics))
    app.add_api_route("/", _query_api, methods=["POST"], include_in_schema=False)
    _handle_errors(app)
    app.add_middleware(RequestFrame, max_body_bytes=chosen.max_body_bytes, metrics=metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    configure(settings.log_level)
    async with open_broker(settings) as broker:
        app.state.broker = broker
        app.state.oidc = oidc = _oidc(settings)
        app.state.rehydrator = rehydrator = Rehydrator(broker)
        calls = CallServer(broker.live, broker.sealer, call_handlers(broker, oidc))
        beside: list[Work] = [
            rehydrator.watch,
            rehydrator.upkeep.doubts,
            rehydrator.upkeep.recounts,
            rehydrator.upkeep.rounds,
            rehydrator.upkeep.stale_uploads,
            rehydrator.upkeep.snapshots,
            rehydrator.housekeeping,
            rehydrator.reap,
            partial(broker.uses.run, broker.live),
            partial(journal.follow, broker),
            partial(intake.follow, broker),
            calls.run,
        ]
        tasks = [asyncio.create_task(_for_ever(one)) for one in beside]
        try:
            yield
        finally:
            await stop_tasks(tasks)
            with suppress(LiveStateError):
                await broker.uses.tell(broker.live)
            await rehydrator.remember()


async def _for_ever(work: Work) -> None:
    """Runs work that never ends by itself, and starts it again when it fails at something unforeseen."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it was, the next look may succeed
            _log.exception("background.failed", error=type(error).__name__)
        await asyncio.sleep(RESTART_SECONDS)


def _oidc(settings: Settings) -> OidcVerifier | None:
    if settings.oidc_issuer is None:
        return None
    if settings.oidc_audience is None:
        raise ValueError("WIO_OIDC_ISSUER needs WIO_OIDC_AUDIENCE as well")
    return OidcVerifier(settings.oidc_issuer, settings.oidc_audience, settings.oidc_refresh_seconds)


def _health(metrics: Metrics) -> APIRouter:
    router = APIRouter(prefix="/-", tags=["health"])

    @router.get("/live")
    async def live() -> dict[str, str]:
        """Whether the process serves."""
        return {"status": "live"}

    @router.get("/ready")
    async def ready(request: Request) -> JSONResponse:
        """Whether SQL answers and the live state is open: changes take effect."""
        broker: Broker = request.app.state.broker
        rehydrator: Rehydrator = request.app.state.rehydrator
        async with broker.db.read() as session:
            await session.execute(text("SELECT 1"))
        status = 200 if rehydrator.is_ready else 503
        return JSONResponse({"status": "ready" if rehydrator.is_ready else "rebuilding"}, status)

    @router.get("/metrics")
    async def show_metrics() -> Response:
        """Counters for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router


async def _query_api(request: Request) -> Response:
    """STS's Query API."""
    broker: Broker = request.app.state.broker
    body = await request.body()
    try:
        params = await _form(request)
        caller = None
        if params.get("Action") != "AssumeRoleWithWebIdentity":
            caller = await authenticate(
                broker, "POST", b"/", request.scope["query_string"], request.scope["headers"], body,
                region=broker.settings.region, service="sts",
            )  # fmt: skip
    except ApiError as error:
        answer = sts.failure(error, request_id.get())
    else:
        answer = await sts.respond(broker, request.app.state.oidc, params, caller, request_id.get())
    return Response(answer.body, answer.status, media_type="text/xml")


async def _form(request: Request) -> dict[str, str]:
    async with request.form(max_files=0, max_fields=_PARAMETERS) as form:
        params: dict[str, str] = {}
        for name, value in form.multi_items():
            if not isinstance(value, str) or name in params:
                raise ApiError("ValidationError", "Each parameter is given once, as text.", 400)
            params[name] = value
        return params


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, "request_id": request_id.get()}}, status)


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def refused(_request: Request, error: ApiError) -> JSONResponse:
        answer = _error(error.status, error.code, error.message)
        if isinstance(error, Unauthenticated) and error.status == 401:
            answer.headers["www-authenticate"] = 'Basic realm="wio gate"'
        if error.status == 503:
            answer.headers["retry-after"] = "1"
        return answer

    @app.exception_handler(LiveStateError)
    async def unavailable(_request: Request, error: LiveStateError) -> JSONResponse:
        _log.warning("live_state.unavailable", error=str(error))
        answer = _error(503, "ServiceUnavailable", "The live state cannot be asked now; try again.")
        answer.headers["retry-after"] = "1"
        return answer

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        # Only where and what is wrong: the values sent may be secrets.
        told = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:5]
        )
        return _error(400, "InvalidRequest", told[:500])

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "InvalidRequest")
        return _error(error.status_code, code, str(error.detail))
