"""`wio login`: a key for this machine, by username and password."""

from __future__ import annotations

import click

from broker.cli.command import Command, Session, pass_session, secret_from_stdin
from broker.cli.failures import usage


@click.command(cls=Command, example="wio login --url https://broker.example.org --username jane")
@click.option("--url", metavar="URL", help="The broker (WIO_URL); the local stack's by default.")
@click.option("--username", metavar="NAME", help="Who you are; asked for when it is missing.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin; else ask.")
@click.option("--name", metavar="TEXT", help="What the key is called in `wio key list`.")
@pass_session
def command(
    session: Session, url: str | None, username: str | None, password_stdin: bool, name: str | None
) -> None:
    """Sign in: the broker makes a key, which is kept in ~/.config/wio/config.json for only you to read."""
    from socket import gethostname

    from broker.cli.client import Broker, Keys
    from broker.cli.profiles import DEFAULT_STACK, Target, local_stack, save_profile

    url = url or session.environment.get("WIO_URL")
    if url is None:
        local = local_stack(DEFAULT_STACK)
        if local is None:
            raise usage("Which broker? Give --url URL.")
        url = local.url
    username = username or click.prompt("Username", err=True)
    password = secret_from_stdin() if password_stdin else click.prompt("Password", hide_input=True, err=True)
    answer = Broker(url, None).login(username, password, name or f"wio login on {gethostname()}")
    keys = Keys(answer["access_key_id"], answer["secret_access_key"])
    endpoint = Broker(url, keys).get("info").get("endpoint_url")
    profile = session.profile or "default"
    path = save_profile(session.environment, profile, Target(url, keys, f"profile {profile}", endpoint))
    session.output.say(f"Signed in as {username}; the key is kept in {path}.")
    public = {name: value for name, value in answer.items() if name != "secret_access_key"}
    session.output.one({**public, "profile": profile})
