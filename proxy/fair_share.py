"""What one credential may have of a worker at once: requests, and bytes in the making (protocol, rule 20)."""

from __future__ import annotations


class FairShare:
    """Counts per credential; `bytes_at_most` 0 is no bound. Whoever took gives back, once."""

    def __init__(self, *, requests_at_most: int, bytes_at_most: int) -> None:
        self._requests_at_most = requests_at_most
        self._bytes_at_most = bytes_at_most
        self._taken: dict[str, list[int]] = {}

    def take(self, access_key_id: str, size: int) -> bool:
        """Count one request that may write `size` bytes; False, and nothing is counted, where that is too much.

        A single request is never too large for this: whether it fits is what quotas are for.
        """
        taken = self._taken.get(access_key_id)
        if taken is None:
            self._taken[access_key_id] = [1, size]
            return True
        if taken[0] >= self._requests_at_most:
            return False
        if size and self._bytes_at_most and taken[1] and taken[1] + size > self._bytes_at_most:
            return False
        taken[0] += 1
        taken[1] += size
        return True

    def give_back(self, access_key_id: str, size: int) -> None:
        """Undo one `take` that said yes."""
        taken = self._taken[access_key_id]
        taken[0] -= 1
        taken[1] -= size
        if not taken[0]:
            del self._taken[access_key_id]
