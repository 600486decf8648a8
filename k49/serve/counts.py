"""What is counted, for Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Counts:
    """Requests to read: how many, of how many characters, how long they took, how many now."""

    def __init__(self, arriving: Callable[[], int], waiting: Callable[[], int]) -> None:
        self.all = all_ = CollectorRegistry()
        self.requests = Counter("k49_requests", "Requests, by status", ["status"], registry=all_)
        self.characters = Counter("k49_characters", "Characters read", registry=all_)
        self.seconds = Histogram(
            "k49_request_seconds", "From headers to answer", buckets=SECONDS, registry=all_
        )
        now = Gauge("k49_arriving", "Requests whose bodies are on their way", registry=all_)
        now.set_function(arriving)
        now = Gauge("k49_waiting", "Requests that wait for a process", registry=all_)
        now.set_function(waiting)
        ProcessCollector(registry=all_)

    def request(self, status: int, characters: int, seconds: float) -> None:
        """Count an answer."""
        self.requests.labels(status).inc()
        self.characters.inc(characters)
        self.seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all of it in the form that Prometheus reads."""
        return generate_latest(self.all)
