"""AWS's STS Query API, as `aws sts` and SDKs speak it: AssumeRole, GetSessionToken, GetCallerIdentity and
AssumeRoleWithWebIdentity. What we cannot honour (policies, tags, MFA, other roles) is refused, never ignored.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from broker import policy
from broker.auth import caller_of_user
from broker.context import Broker
from broker.errors import ApiError
from broker.oidc import OidcVerifier
from broker.policy import Caller, Scope
from broker.sessions.service import DEFAULT_SECONDS, Session, issue_session, workspace_ids
from broker.times import rfc3339
from broker.users.sign_in import user_for_identity

NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"
_ROLE: Final = re.compile(r"arn:wio:iam:::role/(?P<name>[a-z0-9.-]{3,63})(?:/(?P<permission>[a-z]+))?")
_SESSION_NAME: Final = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
#: Parameters of AWS's that would narrow or change a session in ways that we do not offer.
_UNSUPPORTED: Final = (
    "Policy",
    "PolicyArns",
    "Tags",
    "TransitiveTagKeys",
    "SerialNumber",
    "TokenCode",
    "ProviderId",
)
_IGNORABLE: Final = frozenset({"Action", "Version", "RoleArn", "RoleSessionName", "DurationSeconds", "WebIdentityToken",
                               "ExternalId", "SourceIdentity"})  # fmt: skip
_RESERVED_PARAMS: Final = ("X-Amz-",)


@dataclass(frozen=True, slots=True)
class StsAnswer:
    """Status and XML of an answer."""

    status: int
    body: str


async def respond(
    broker: Broker,
    oidc: OidcVerifier | None,
    params: Mapping[str, str],
    caller: Caller | None,
    request_id: str,
) -> StsAnswer:
    """Runs one action for `caller`, whose signature has been verified (None: unsigned). Never raises ApiError."""
    action = params.get("Action", "")
    try:
        result = await _run(broker, oidc, action, params, caller)
    except ApiError as error:
        return failure(error, request_id)
    body = (
        f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata></{action}Response>"
    )
    return StsAnswer(200, body)


async def _run(
    broker: Broker, oidc: OidcVerifier | None, action: str, params: Mapping[str, str], caller: Caller | None
) -> str:
    if action == "AssumeRoleWithWebIdentity":
        return await _web_identity(broker, oidc, params)
    if caller is None:
        raise ApiError("MissingAuthenticationToken", "The request must be signed.", 403)
    handler = _ACTIONS.get(action)
    if handler is None:
        raise ApiError("InvalidAction", f"There is no action {action[:64]!r} here.", 400)
    return await handler(broker, caller, params)


def failure(error: ApiError, request_id: str) -> StsAnswer:
    """An error as STS writes it."""
    code = _STS_CODES.get(error.code, error.code)
    sender = "Sender" if error.status < 500 else "Receiver"
    return StsAnswer(
        error.status,
        f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>{sender}</Type><Code>{escape(code)}</Code>'
        f"<Message>{escape(error.message)}</Message></Error><RequestId>{escape(request_id)}</RequestId></ErrorResponse>",
    )


#: S3's words for what STS calls otherwise; SDKs know the latter.
_STS_CODES: Final = {
    "InvalidRequest": "ValidationError",
    "InvalidAccessKeyId": "InvalidClientTokenId",
    "InvalidToken": "InvalidClientTokenId",
    "NotFound": "AccessDenied",
}


async def _assume_role(broker: Broker, caller: Caller, params: Mapping[str, str]) -> str:
    _refuse_unsupported(params)
    name = _session_name(params)
    scope = await _scope_of(broker, caller, params.get("RoleArn", ""))
    session = await issue_session(broker, caller, scope, _seconds(params), name)
    return _credentials(session) + _assumed(params["RoleArn"], name, session)


async def _get_session_token(broker: Broker, caller: Caller, params: Mapping[str, str]) -> str:
    _refuse_unsupported(params)
    return _credentials(await issue_session(broker, caller, Scope(), _seconds(params)))


async def _get_caller_identity(_broker: Broker, caller: Caller, params: Mapping[str, str]) -> str:
    _refuse_unsupported(params)
    kind = "assumed-role" if caller.kind == "session" else "user"
    arn = f"arn:wio:sts:::{kind}/{caller.handle}"
    return f"<Arn>{escape(arn)}</Arn><UserId>{escape(caller.user or '')}</UserId><Account>wio</Account>"


async def _web_identity(broker: Broker, oidc: OidcVerifier | None, params: Mapping[str, str]) -> str:
    _refuse_unsupported(params)
    if oidc is None:
        raise ApiError("InvalidAction", "No identity provider is set up (WIO_OIDC_ISSUER).", 400)
    name = _session_name(params)
    identity = await oidc.verify(params.get("WebIdentityToken", ""))
    user_id = await user_for_identity(broker, identity)
    async with broker.db.read() as session:
        caller = await caller_of_user(session, user_id)
    scope = await _scope_of(broker, caller, params.get("RoleArn", ""))
    made = await issue_session(broker, caller, scope, _seconds(params), name)
    subject = f"<SubjectFromWebIdentityToken>{escape(identity.subject)}</SubjectFromWebIdentityToken>"
    return (
        f"{subject}<Audience>{escape(identity.audience)}</Audience>"
        + _assumed(params["RoleArn"], name, made)
        + _credentials(made)
        + f"<Provider>{escape(oidc.issuer)}</Provider>"
    )


_Handler = Callable[[Broker, Caller, Mapping[str, str]], Awaitable[str]]
_ACTIONS: Final[Mapping[str, _Handler]] = {
    "AssumeRole": _assume_role,
    "GetSessionToken": _get_session_token,
    "GetCallerIdentity": _get_caller_identity,
}


def _refuse_unsupported(params: Mapping[str, str]) -> None:
    for name in params:
        head = name.split(".", 1)[0]
        if head in _UNSUPPORTED:
            raise ApiError("ValidationError", f"{head} is not supported here; the role names the scope.", 400)
        if head not in _IGNORABLE and not head.startswith(_RESERVED_PARAMS):
            raise ApiError("ValidationError", f"The parameter {head[:64]!r} is not known here.", 400)


def _session_name(params: Mapping[str, str]) -> str:
    name = params.get("RoleSessionName", "")
    if not _SESSION_NAME.fullmatch(name):
        raise ApiError(
            "ValidationError", "RoleSessionName has 2 to 64 characters of [A-Za-z0-9_+=,.@-].", 400
        )
    return name


def _seconds(params: Mapping[str, str]) -> int:
    text = params.get("DurationSeconds", str(DEFAULT_SECONDS))
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise ApiError("ValidationError", "DurationSeconds must be a number.", 400)
    return int(text)


async def _scope_of(broker: Broker, caller: Caller, arn: str) -> Scope:
    match = _ROLE.fullmatch(arn)
    if match is None:
        raise ApiError(
            "ValidationError",
            "RoleArn must be arn:wio:iam:::role/all or arn:wio:iam:::role/OWNER.name[/PERMISSION].",
            400,
        )
    name, word = match["name"], match["permission"]
    permission = None if word is None else policy.PERMISSIONS.get(word)
    if word is not None and permission is None:
        raise ApiError("ValidationError", "The permission is read, readwrite or own.", 400)
    if name == "all":
        return Scope(None, permission)
    if "." not in name:
        raise ApiError("ValidationError", "A role names a workspace as OWNER.name.", 400)
    async with broker.db.read() as session:
        return Scope(await workspace_ids(session, caller, [name]), permission)


def _credentials(session: Session) -> str:
    return (
        f"<Credentials><AccessKeyId>{session.row.id}</AccessKeyId>"
        f"<SecretAccessKey>{escape(session.secret)}</SecretAccessKey>"
        f"<SessionToken>{escape(session.token)}</SessionToken>"
        f"<Expiration>{rfc3339(session.row.expires_at)}</Expiration></Credentials>"
    )


def _assumed(arn: str, name: str, session: Session) -> str:
    assumed = arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/" + name
    return (
        f"<AssumedRoleUser><AssumedRoleId>{session.row.id}:{escape(name)}</AssumedRoleId>"
        f"<Arn>{escape(assumed)}</Arn></AssumedRoleUser>"
    )
