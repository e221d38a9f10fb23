"""Somebody at a terminal beside a running stack: their commands, their clients, and every secret they saw."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.servers import clean_env, find_program
from tests.stack.ups import ROOT, Up, running_up

#: Seconds that one command may take on a busy machine.
COMMAND_SECONDS = 120
#: Fields and variables whose values must never be seen in a log or an argument.
_SECRET = re.compile(
    r'(?:"(?:secret_access_key|session_token|password|SecretAccessKey|SessionToken)": "'
    r"|AWS_SECRET_ACCESS_KEY=|AWS_SESSION_TOKEN=|X-Amz-Signature=|Signature=)"
    r"([^\"'\s&]{12,})"
)


@dataclass(frozen=True, slots=True)
class Told:
    """What a program gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its stdout as JSON."""
        return json.loads(self.out)


@dataclass(slots=True)
class Stack:
    """A stack that runs, the folder of programs that people have on PATH, and the secrets made in it."""

    up: Up
    bin: Path
    secrets: set[str] = field(default_factory=set)

    @property
    def endpoint(self) -> str:
        """The S3 endpoint's URL."""
        return str(self.up.facts["endpoint_url"])

    @property
    def console(self) -> str:
        """The broker's URL."""
        return str(self.up.facts["console_url"])

    def note(self, *texts: str) -> None:
        """Remember every secret in a text."""
        for text in texts:
            self.secrets.update(_SECRET.findall(text))

    def leaks(self) -> list[str]:
        """Where a secret of this stack stands that must not: log files, and arguments of its processes."""
        kept = json.loads((self.up.folder / "stack.json").read_text())["secrets"]
        known = self.secrets | {
            value for name, value in kept.items() if name not in ("access_key_id", "minio_user")
        }
        places = {
            path.name: path.read_text(errors="replace") for path in (self.up.folder / "logs").glob("*.log")
        }
        places |= {f"arguments of {pid}": line for pid, line in self.up.parts().items()}
        return sorted({where for where, text in places.items() if any(one in text for one in known)})


class Person:
    """One user with a folder, a home and an environment of their own, in which no AWS or WIO is set but theirs."""

    def __init__(self, stack: Stack, folder: Path, **environment: str) -> None:
        self.stack = stack
        self.folder = folder
        self.environment = environment
        folder.mkdir(parents=True, exist_ok=True)

    def run(
        self, program: str, *words: str, code: int | None = 0, stdin: str = "", **environment: str
    ) -> Told:
        """Run a program from their PATH; fails unless it exits with `code` (None: whatever)."""
        environment = self.variables(**environment)
        found = shutil.which(program, path=environment["PATH"])
        assert found, program
        done = subprocess.run(
            [found, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            cwd=self.folder,
            env=environment,
        )
        self.stack.note(done.stdout, done.stderr)
        told = Told(done.returncode, done.stdout, done.stderr)
        assert code is None or told.code == code, (program, words, told)
        return told

    def fails(self, program: str, *words: str, **environment: str) -> str:
        """Run a program that must fail; gives all it said."""
        told = self.run(program, *words, code=None, **environment)
        assert told.code != 0, told
        return told.out + told.err

    def variables(self, **environment: str) -> dict[str, str]:
        """Their environment."""
        basics = clean_env(
            HOME=str(self.folder),
            PATH=f"{self.stack.bin}:/usr/bin:/bin",
            XDG_CACHE_HOME=self.stack.up.cache,
            XDG_CONFIG_HOME=str(self.folder / "config"),
            AWS_EC2_METADATA_DISABLED="true",
            AWS_PAGER="",
        )
        return basics | self.environment | environment

    def wio(self, *words: str, code: int | None = 0, stdin: str = "") -> Told:
        """`wio …`, for people."""
        return self.run("wio", *words, code=code, stdin=stdin)

    def json(self, *words: str, code: int = 0, stdin: str = "") -> Any:
        """The JSON that `wio … --json` prints."""
        return self.run("wio", *words, "--json", code=code, stdin=stdin).json

    def key(self, *words: str) -> dict[str, str]:
        """A new key of theirs."""
        made: dict[str, str] = self.json("key", "create", *words)
        return made

    def token(self, *words: str) -> dict[str, str]:
        """A new session of theirs."""
        made: dict[str, str] = self.json("token", "create", *words)
        return made

    def aws(self, *words: str, by: dict[str, str]) -> Told:
        """`aws …` with a credential in the environment."""
        return self.run("aws", *words, **aws_environment(self.stack, by))

    def aws_fails(self, *words: str, by: dict[str, str]) -> str:
        """The same, which must fail; gives all it said."""
        return self.fails("aws", *words, **aws_environment(self.stack, by))


def aws_environment(stack: Stack, credential: dict[str, str]) -> dict[str, str]:
    """What aws and the SDKs read, for a credential as `--json` shows it."""
    found = {
        "AWS_ACCESS_KEY_ID": credential["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": credential["secret_access_key"],
        "AWS_ENDPOINT_URL": stack.endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    if credential.get("session_token"):
        found["AWS_SESSION_TOKEN"] = credential["session_token"]
    return found


def boto(stack: Stack, credential: dict[str, str]) -> Any:
    """boto3's S3 client with a credential; it tries once, so that what a test sees is the first answer."""
    return boto3.client(
        "s3",
        endpoint_url=stack.endpoint,
        region_name="us-east-1",
        aws_access_key_id=credential["access_key_id"],
        aws_secret_access_key=credential["secret_access_key"],
        aws_session_token=credential.get("session_token"),
        config=Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 0, "mode": "standard"}
        ),
    )  # fmt: skip


#: Parts of 16 MiB, four at once, so that 200 MiB are a real multipart upload.
PARTS = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=4)


def error_of(call: Any, *arguments: Any, **words: Any) -> tuple[int, str, str]:
    """Status, code and message of the refusal that a boto3 call gets; fails when it is let through."""
    try:
        answer = call(*arguments, **words)
    except ClientError as error:
        told = error.response
        return (
            int(told["ResponseMetadata"]["HTTPStatusCode"]),
            str(told["Error"]["Code"]),
            str(told["Error"].get("Message", "")),
        )
    raise AssertionError(f"not refused: {answer}")


def fetch(url: str) -> tuple[int, bytes]:
    """Status and body of a plain GET, as a browser or curl sends it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def buckets(client: Any) -> list[str]:
    """The names that ListBuckets gives."""
    return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]


def programs(folder: Path) -> Path:
    """A folder for PATH with `wio`, `aws` and `mc`, as `.venv/bin` and an installed mc would give them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wio").write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -P -m broker.cli "$@"\n'
    )
    (folder / "wio").chmod(0o755)
    for name in ("aws", "mc"):
        if not (folder / name).exists():
            (folder / name).symlink_to(find_program(name))
    return folder


@contextmanager
def running_stack(folder: Path, *options: str, **environment: str) -> Iterator[Stack]:
    """A stack that logs all it can; at its end no secret may stand in its logs and arguments."""
    with running_up(folder, *options, WIO_LOG_LEVEL="debug", **environment) as up:
        stack = Stack(up, programs(folder / "bin"))
        yield stack
        assert stack.leaks() == []


def administrator(stack: Stack, folder: Path) -> Person:
    """The admin, who finds the stack by WIO_DIR."""
    return Person(stack, folder, WIO_DIR=str(stack.up.folder))


def user(admin: Person, name: str) -> Person:
    """A new user with a key of their own in their environment, as `wio` reads it."""
    admin.json("user", "create", name)
    key = admin.key("--user", name, "--name", f"{name}'s")
    return Person(
        admin.stack,
        admin.folder / name,
        WIO_URL=admin.stack.console,
        WIO_ACCESS_KEY_ID=key["access_key_id"],
        WIO_SECRET_ACCESS_KEY=key["secret_access_key"],
    )


def own_key(person: Person) -> dict[str, str]:
    """The key that is in a user's environment."""
    return {
        "access_key_id": person.environment["WIO_ACCESS_KEY_ID"],
        "secret_access_key": person.environment["WIO_SECRET_ACCESS_KEY"],
    }


def command_lines() -> str:
    """The arguments of every process of this machine, as every user can read them."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return "\n".join(lines)
