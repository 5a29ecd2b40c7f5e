"""Metrics of the API for Prometheus, without names of people."""

from __future__ import annotations

from edgefr.errors import EdgefrError
from edgefr.gallery.base import Gallery
from edgefr.server.api.worker_pool import WorkerPool

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Upper bounds of the histogram of durations."""


class ApiMetrics:
    """Counts requests and decisions in a registry of its own."""

    def __init__(self, gallery: Gallery, pool: WorkerPool) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self._registry, self._gallery = CollectorRegistry(), gallery
        ProcessCollector(registry=self._registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"edgefr_{name}", text, labels, registry=self._registry)

        self._requests = counter("requests", "Answered requests.", "operation", "status")
        self._problems = counter("problems", "Refused requests by kind of problem.", "kind")
        self._decisions = counter("decisions", "Decisions about faces.", "operation", "decision")
        self._seconds = Histogram(
            "edgefr_request_seconds", "Duration of requests.", ["operation"], buckets=SECONDS, registry=self._registry
        )
        gauges = {
            "workers": ("Threads that work on pictures.", lambda: pool.workers),
            "workers_busy": ("Threads that work on a picture now.", lambda: pool.busy),
            "requests_admitted": ("Requests that have a place in the queue or in a worker.", lambda: pool.admitted),
            "people": ("Enrolled people; NaN if the gallery cannot be read.", self._count_people),
        }
        for name, (text, value) in gauges.items():
            Gauge(f"edgefr_{name}", text, registry=self._registry).set_function(value)

    def count_request(self, operation: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(operation, str(status)).inc()
        self._seconds.labels(operation).observe(seconds)

    def count_problem(self, kind: str) -> None:
        """Count a refusal."""
        self._problems.labels(kind).inc()

    def count_decision(self, operation: str, decision: str) -> None:
        """Count the decision about a face."""
        self._decisions.labels(operation, decision).inc()

    def text(self) -> bytes:
        """All metrics in the text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def _count_people(self) -> float:
        try:
            return len(self._gallery)
        except EdgefrError:
            return float("nan")
