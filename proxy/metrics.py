"""Prometheus metrics of one worker."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class _Durations:
    """A histogram: how many requests ended within each bucket, and their seconds together."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.seconds = 0.0


class _Requests(Collector):
    """What requests are counted in: plain numbers, which become samples when somebody scrapes."""

    def __init__(self) -> None:
        self.by_status: Counter[tuple[str, int]] = Counter()
        self.durations: dict[str, _Durations] = {}
        self.denials: Counter[str] = Counter()
        self.cuts: Counter[str] = Counter()
        self.bytes_in = 0
        self.bytes_out = 0

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "wio_requests", "Requests by operation and status.", labels=("operation", "status")
        )
        for (operation, status), count in self.by_status.items():
            requests.add_metric((operation, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily("wio_request_seconds", "Duration of requests.", labels=("operation",))
        for operation, durations in self.durations.items():
            seconds.add_metric((operation,), _cumulated(durations.counts), durations.seconds)
        yield seconds
        moved = CounterMetricFamily("wio_payload_bytes", "Payload moved.", labels=("direction",))
        moved.add_metric(("in",), self.bytes_in)
        moved.add_metric(("out",), self.bytes_out)
        yield moved
        denials = CounterMetricFamily("wio_denials", "Requests refused, by S3 error code.", labels=("code",))
        for code, count in self.denials.items():
            denials.add_metric((code,), count)
        yield denials
        cuts = CounterMetricFamily(
            "wio_transfers_cut",
            "Transfers cut by a revocation or the end of the lease.",
            labels=("operation",),
        )
        for operation, count in self.cuts.items():
            cuts.add_metric((operation,), count)
        yield cuts


class Metrics:
    """Counters by operation and outcome; a request costs a few additions of plain numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = _Requests()
        self.registry.register(self._requests)
        self.transfers = Gauge("wio_transfers", "Transfers running now.", registry=self.registry)
        self.lease = Gauge("wio_lease_held", "1 while this worker serves.", registry=self.registry)

    def request(
        self, operation: str, status: int, code: str, seconds: float, bytes_in: int, bytes_out: int
    ) -> None:
        """Count one finished request."""
        requests = self._requests
        requests.by_status[operation, status] += 1
        durations = requests.durations.get(operation)
        if durations is None:
            durations = requests.durations[operation] = _Durations()
        durations.counts[bisect_left(_BUCKETS, seconds)] += 1
        durations.seconds += seconds
        requests.bytes_in += bytes_in
        requests.bytes_out += bytes_out
        if code:
            requests.denials[code] += 1

    def cut(self, operation: str) -> None:
        """Count one transfer that was cut."""
        self._requests.cuts[operation] += 1

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _cumulated(counts: list[int]) -> list[tuple[str, float]]:
    """Prometheus counts in each bucket all that is in the smaller ones."""
    found, total = [], 0
    for bound, count in zip((*map(float, _BUCKETS), "+Inf"), counts, strict=True):
        total += count
        found.append((str(bound), float(total)))
    return found
