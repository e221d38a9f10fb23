"""Prometheus metrics of one worker."""

from __future__ import annotations

from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class Metrics:
    """Counters by operation and outcome. Children are looked up once: a request costs three additions."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "wio_requests",
            "Requests by operation and status.",
            ("operation", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "wio_request_seconds",
            "Duration of requests.",
            ("operation",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._bytes = Counter("wio_payload_bytes", "Payload moved.", ("direction",), registry=self.registry)
        self._denials = Counter(
            "wio_denials", "Requests refused, by S3 error code.", ("code",), registry=self.registry
        )
        self._cuts = Counter(
            "wio_transfers_cut",
            "Transfers cut by a revocation or the end of the lease.",
            ("operation",),
            registry=self.registry,
        )
        self.transfers = Gauge("wio_transfers", "Transfers running now.", registry=self.registry)
        self.lease = Gauge("wio_lease_held", "1 while this worker serves.", registry=self.registry)
        self._in = self._bytes.labels("in")
        self._out = self._bytes.labels("out")
        self._known: dict[tuple[str, int], tuple[Any, Any]] = {}

    def request(
        self, operation: str, status: int, code: str, seconds: float, bytes_in: int, bytes_out: int
    ) -> None:
        """Count one finished request."""
        children = self._known.get((operation, status))
        if children is None:
            children = (self._requests.labels(operation, str(status)), self._seconds.labels(operation))
            self._known[operation, status] = children
        children[0].inc()
        children[1].observe(seconds)
        if bytes_in:
            self._in.inc(bytes_in)
        if bytes_out:
            self._out.inc(bytes_out)
        if code:
            self._denials.labels(code).inc()

    def cut(self, operation: str) -> None:
        """Count one transfer that was cut."""
        self._cuts.labels(operation).inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
