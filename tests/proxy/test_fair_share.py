"""What one credential may have of a worker at once."""

from __future__ import annotations

from proxy.fair_share import FairShare


def test_requests_are_bounded_and_come_back() -> None:
    shares = FairShare(requests_at_most=2, bytes_at_most=0)
    assert [shares.take("a", 0) for _ in range(3)] == [True, True, False]
    assert shares.take("b", 1 << 50)
    shares.give_back("a", 0)
    assert shares.take("a", 0)


def test_bytes_are_bounded_save_for_a_single_request() -> None:
    shares = FairShare(requests_at_most=10, bytes_at_most=100)
    assert shares.take("a", 500)
    assert not shares.take("a", 1)
    assert shares.take("a", 0)
    shares.give_back("a", 500)
    assert shares.take("a", 60)
    assert shares.take("a", 40)
    assert not shares.take("a", 1)
