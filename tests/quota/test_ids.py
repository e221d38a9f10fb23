"""Ids and secrets: of the form that clients and shells take without quoting."""

from __future__ import annotations

import re

from quota import new_access_key_id, new_id, new_secret, new_session_token


def test_their_forms() -> None:
    for _ in range(200):
        assert re.fullmatch(r"[a-z2-7]{16}", new_id())
        assert re.fullmatch(r"WIOS[A-Z2-7]{16}", new_access_key_id("session"))
        assert re.fullmatch(
            r"[A-Za-z0-9]{40}", new_secret()
        )  # a dash in front would be an option of `mc alias set`
        assert re.fullmatch(r"[A-Za-z0-9]{128}", new_session_token())


def test_none_comes_twice() -> None:
    assert len({new_id() for _ in range(1000)} | {new_secret() for _ in range(1000)}) == 2000
