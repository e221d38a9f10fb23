"""`wio doctor`: checks the way from here to the data, one step after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime

import click

from broker.cli.command import Command, Session, pass_session
from broker.cli.endpoint import endpoint_url
from broker.cli.failures import ExitCode, Failure

#: SigV4 allows 15 minutes; a clock that is off by half of that will soon be off by all of it.
CLOCK_SECONDS = 450


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether it held, and what was seen or what to try."""

    check: str
    ok: bool
    detail: str


@click.command(cls=Command, example="wio doctor")
@pass_session
def command(session: Session) -> None:
    """Check configuration, broker, clock, credential, S3 endpoint and mc; exits with 1 when one fails."""
    checks: tuple[tuple[str, Callable[[Session], str]], ...] = (
        ("configuration", _configuration),
        ("broker", _broker),
        ("clock", _clock),
        ("credential", _credential),
        ("endpoint", _endpoint),
        ("mc", _mc),
    )
    findings = [_look(name, check, session) for name, check in checks]
    session.output.many([asdict(finding) for finding in findings], ("check", "ok", "detail"))
    if not all(finding.ok for finding in findings):
        click.get_current_context().exit(ExitCode.FAILURE)


def _look(name: str, check: Callable[[Session], str], session: Session) -> Finding:
    try:
        return Finding(name, True, check(session))
    except Failure as failure:
        return Finding(name, False, failure.message)


def _configuration(session: Session) -> str:
    return f"{session.target.source}: {session.target.url}"


def _broker(session: Session) -> str:
    status = session.broker.health("/-/ready").status_code
    if status != 200:
        raise Failure("NotReady", f"The broker answers {status} at /-/ready; its log says why.")
    return "ready"


def _clock(session: Session) -> str:
    said = session.broker.health("/-/live").headers.get("date")
    if said is None:
        return "the broker does not tell the time"
    skew = time.time() - parsedate_to_datetime(said).timestamp()
    if abs(skew) > CLOCK_SECONDS:
        raise Failure("ClockSkew", f"This machine's clock is off by {skew:.0f} s; signatures allow 900 s.")
    return f"off by {abs(skew):.0f} s"


def _credential(session: Session) -> str:
    answer = session.broker.get("whoami")
    return f"{answer['user']}, until {answer.get('expires_at') or 'revoked'}"


def _endpoint(session: Session) -> str:
    from broker.stack.parts import http_status

    url = endpoint_url(session)
    status = http_status(url, "/-/ready")
    if status is None:
        raise Failure("Unreachable", f"Nothing answers at {url}.")
    if status != 200:
        raise Failure("NotReady", f"The proxy at {url} answers {status} at /-/ready: it has no live state.")
    return f"{url} ready"


def _mc(_session: Session) -> str:
    from broker.stack.binaries import find

    found = find("mc")
    return str(found) if found else "not here yet; the first `wio mc` builds it"
