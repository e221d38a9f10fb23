"""Local passwords (argon2id) and the brake on guessing them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from broker.errors import ApiError, invalid

MIN_LENGTH = 8
MAX_LENGTH = 256
#: Wrong tries that cost nothing; each further one doubles the wait, up to the longest.
FREE_TRIES = 5
LONGEST_WAIT_SECONDS = 300.0
_REMEMBERED = 10_000
#: Hashes computed at once: each takes 64 MiB and a whole core.
AT_ONCE = 4
_hasher = PasswordHasher()
# Verified when there is no such login, so that its absence takes as long as a wrong password.
_DECOY = _hasher.hash("a password that nobody has")


async def hash_password(password: str) -> str:
    """An argon2id hash with its salt. Raises ApiError for a password too short or absurdly long."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise invalid(f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters.")
    async with _room():
        return await asyncio.to_thread(_hasher.hash, password)


async def verify_password(stored: str | None, password: str) -> bool:
    """Whether it is the password; takes as long when there is none stored."""
    if len(password) > MAX_LENGTH:
        return False
    try:
        async with _room():
            await asyncio.to_thread(_hasher.verify, stored or _DECOY, password)
    except (Argon2Error, InvalidHashError):
        return False
    return stored is not None


_rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _room() -> asyncio.Semaphore:
    return _rooms.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))


@dataclass(slots=True)
class _Tries:
    failures: int
    blocked_until: float


class Throttle:
    """Counts failed tries per key (a login, an address), in this process; forgets the oldest of many."""

    def __init__(self, free_tries: int = FREE_TRIES) -> None:
        self._free = free_tries
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def check(self, key: str, now: float | None = None) -> None:
        """Raises ApiError (429) while the key has to wait."""
        now = time.monotonic() if now is None else now
        tries = self._tries.get(key)
        if tries is not None and tries.blocked_until > now:
            wait = int(tries.blocked_until - now) + 1
            raise ApiError("TooManyRequests", f"Too many wrong passwords; try again in {wait} s.", 429)

    def failed(self, key: str, now: float | None = None) -> None:
        """Notes a try, before it is known to be right: many at once must not all count as the first."""
        now = time.monotonic() if now is None else now
        tries = self._tries.setdefault(key, _Tries(0, 0.0))
        self._tries.move_to_end(key)
        tries.failures += 1
        over = tries.failures - self._free
        if over >= 0:
            tries.blocked_until = now + min(2.0**over, LONGEST_WAIT_SECONDS)
        while len(self._tries) > _REMEMBERED:
            self._tries.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forgets the key's failures."""
        self._tries.pop(key, None)

    def forgive(self, key: str) -> None:
        """Takes one try back, which was right."""
        tries = self._tries.get(key)
        if tries is not None:
            tries.failures -= 1
            if tries.failures < self._free:
                tries.blocked_until = 0.0
