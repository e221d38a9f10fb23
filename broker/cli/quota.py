"""`wio quota`: limits and usage at four levels."""

from __future__ import annotations

from dataclasses import dataclass

import click

from broker.cli.command import Group, Session, pass_session
from broker.cli.failures import usage
from broker.cli.params import DURATION, PERCENT, SIZE, WORKSPACE

COLUMNS = (
    "level",
    "subject",
    "used_bytes",
    "held_bytes",
    "limit_bytes",
    "used_objects",
    "limit_objects",
    "grace_ends_at",
)
LEVELS = ("workspace", "user", "user-root", "root")


@dataclass(frozen=True, slots=True)
class Scope:
    """One of the four levels, and whom or what of it is meant; no subject means everybody's."""

    level: str
    subject: str | None = None
    root: str | None = None

    def as_fields(self) -> dict[str, object]:
        """The fields of the API."""
        return {"level": self.level, "subject": self.subject, "root": self.root}


def parse_scope(words: tuple[str, ...], *, default: bool = False) -> Scope:
    """`workspace W`, `user U`, `user-root U R`, `root R`; with `default` the subjects may be left out.

    Raises Failure (usage) for anything else.
    """
    level, subjects = words[0], words[1:]
    if level not in LEVELS:
        raise usage(f"{level!r} is no level; write workspace W, user U, user-root U R or root R.")
    if default and level == "user-root" and len(subjects) < 2:
        return Scope(level, None, *subjects)
    if default and not subjects:
        return Scope(level)
    if len(subjects) != (2 if level == "user-root" else 1):
        raise usage(f"{level} takes {'a user and a root' if level == 'user-root' else 'one name'}.")
    if level == "workspace" and not default:
        return Scope(level, WORKSPACE.convert(subjects[0], None, None))
    return Scope(level, *subjects)


@click.group(cls=Group)
def command() -> None:
    """Limits and usage: of a workspace, a user, a user on one root, a root."""


@command.command("set", example="wio quota set workspace photos --bytes 10GiB --soft 80% --grace 7d")
@click.argument("scope", metavar="(workspace W | user U | user-root U R | root R)", nargs=-1, required=True)
@click.option("--bytes", "bytes_", type=SIZE, help="The hard limit: 10GiB.")
@click.option("--objects", type=click.IntRange(min=0), help="The hard limit of objects.")
@click.option("--soft", type=PERCENT, help="Warn from this share of the limits on: 80%.")
@click.option("--grace", type=DURATION, help="How long usage may stay over the soft limit: 7d.")
@click.option("--for", "for_", type=DURATION, help="Only for so long; then what was set before holds again.")
@click.option("--default", is_flag=True, help="For everybody who has no limit of their own there.")
@click.option("--none", is_flag=True, help="Remove the limit.")
@pass_session
def set_(
    session: Session,
    scope: tuple[str, ...],
    bytes_: int | None,
    objects: int | None,
    soft: int | None,
    grace: str | None,
    for_: str | None,
    default: bool,
    none: bool,
) -> None:
    """Set a limit. It holds for the next request; nothing that is stored is deleted."""
    given = [bytes_, objects, soft, grace, for_]
    if none and any(value is not None for value in given):
        raise usage("--none removes the limit; nothing else goes with it.")
    if not none and all(value is None for value in given):
        raise usage("Nothing to set: give --bytes, --objects, --soft, --grace or --none.")
    body = {
        **parse_scope(scope, default=default).as_fields(),
        "default": default or None,
        "bytes": bytes_,
        "objects": objects,
        "soft": soft,
        "grace": grace,
        "for": for_,
        "none": none or None,
    }
    session.output.one(session.broker.put("quotas", body=body))


@command.command(example="wio quota show workspace photos")
@click.argument("scope", metavar="[workspace W | user U | user-root U R | root R]", nargs=-1)
@pass_session
def show(session: Session, scope: tuple[str, ...]) -> None:
    """Show usage and limits of one level; without one, of all levels that are yours."""
    if not scope:
        session.output.many(session.broker.get("quotas"), COLUMNS)
        return
    session.output.one(session.broker.get("quotas", **parse_scope(scope).as_fields())[0])


@command.command("list", example="wio quota list --over 80%")
@click.option("--over", type=PERCENT, help="Only where usage is above this share of the limit.")
@pass_session
def list_(session: Session, over: int | None) -> None:
    """List usage and limits at every level that you may see."""
    session.output.many(session.broker.get("quotas", all=True, over=over), COLUMNS)


@command.command(example="wio quota recount photos")
@click.argument("workspace", type=WORKSPACE)
@pass_session
def recount(session: Session, workspace: str) -> None:
    """Count a workspace anew by listing it; uploads go on meanwhile."""
    session.output.one(session.broker.post("quotas", "recount", body={"workspace": workspace}))
