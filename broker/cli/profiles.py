"""Where the command finds the broker and its keys: environment, a profile from `wio login`, the local stack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from broker.cli.client import Keys
from broker.cli.failures import ExitCode, Failure
from broker.stack.private import write_private

DEFAULT_STACK = Path(".wio")


@dataclass(frozen=True, slots=True)
class Target:
    """A broker to talk to. `source` says to people where it was found; `endpoint_url` is the S3 endpoint."""

    url: str
    keys: Keys
    source: str
    endpoint_url: str | None = None


def config_file(environment: Mapping[str, str]) -> Path:
    """`$XDG_CONFIG_HOME/wio/config.json`, by default under ~/.config."""
    base = environment.get("XDG_CONFIG_HOME") or ""
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
    return folder / "wio" / "config.json"


def find_target(environment: Mapping[str, str], profile: str | None) -> Target:
    """The broker that a command means. The first that is there of: a named profile (`--profile`,
    WIO_PROFILE), the stack in WIO_DIR, the profile logged in last, the stack in ./.wio.

    WIO_URL replaces its URL, and WIO_ACCESS_KEY_ID with WIO_SECRET_ACCESS_KEY (and WIO_SESSION_TOKEN) its
    keys; all of them together need no other source. Raises Failure when something is missing.
    """
    url, keys = environment.get("WIO_URL"), _environment_keys(environment)
    named = profile or environment.get("WIO_PROFILE")
    found: Target | None
    if url and keys and not named:
        return Target(url, keys, "the environment")
    if named:
        found = load_profile(environment, named)
        if found is None:
            raise Failure(
                "NoSuchProfile", f"There is no profile {named!r}; `wio login` makes it.", ExitCode.USAGE
            )
    elif environment.get("WIO_DIR"):
        found = local_stack(Path(environment["WIO_DIR"]))
    else:
        found = load_profile(environment, None) or local_stack(DEFAULT_STACK)
    if found is None:
        raise Failure(
            "NotLoggedIn",
            "No broker is known here: start one with `wio up`, or sign in with `wio login --url URL`.",
            ExitCode.DENIED,
        )
    if url and url.rstrip("/") != found.url.rstrip("/"):
        found = replace(found, url=url, endpoint_url=None)
    return replace(found, keys=keys, source="the environment") if keys else found


def local_stack(folder: Path) -> Target | None:
    """The stack that `wio up` runs in `folder`, by the admin.json it wrote; None when there is none."""
    facts = _read(folder / "admin.json")
    if facts is None:
        return None
    keys = Keys(facts["access_key_id"], facts["secret_access_key"])
    return Target(facts["console_url"], keys, f"the stack in {folder}", facts["endpoint_url"])


def load_profile(environment: Mapping[str, str], name: str | None) -> Target | None:
    """A stored profile, by name, or the one logged in last; None when there is none."""
    config = _read(config_file(environment)) or {}
    name = name or config.get("current")
    entry = config.get("profiles", {}).get(name) if name else None
    if entry is None:
        return None
    keys = Keys(entry["access_key_id"], entry["secret_access_key"])
    return Target(entry["url"], keys, f"profile {name}", entry.get("endpoint_url"))


def save_profile(environment: Mapping[str, str], name: str, target: Target) -> Path:
    """Keep a profile and make it the current one, in a file that only its owner reads."""
    path = config_file(environment)
    config = _read(path) or {}
    profiles = dict(config.get("profiles", {}))
    profiles[name] = {
        "url": target.url,
        "endpoint_url": target.endpoint_url,
        "access_key_id": target.keys.access_key_id,
        "secret_access_key": target.keys.secret_access_key,
    }
    write_private(path, {"current": name, "profiles": profiles})
    return path


def forget_profile(environment: Mapping[str, str], name: str | None) -> str | None:
    """Remove a profile (the current one by default); returns its name, None when there was none."""
    path = config_file(environment)
    config = _read(path) or {}
    name = name or config.get("current")
    profiles = dict(config.get("profiles", {}))
    if name is None or profiles.pop(name, None) is None:
        return None
    current = config.get("current")
    write_private(path, {"current": None if current == name else current, "profiles": profiles})
    return name


def _environment_keys(environment: Mapping[str, str]) -> Keys | None:
    identity, secret = environment.get("WIO_ACCESS_KEY_ID"), environment.get("WIO_SECRET_ACCESS_KEY")
    if bool(identity) != bool(secret):
        raise Failure(
            "UsageError", "Set both WIO_ACCESS_KEY_ID and WIO_SECRET_ACCESS_KEY, or neither.", ExitCode.USAGE
        )
    if not identity or not secret:
        return None
    return Keys(identity, secret, environment.get("WIO_SESSION_TOKEN") or None)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Failure("BadConfiguration", f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise Failure("BadConfiguration", f"{path} holds no JSON object.")
    return value
