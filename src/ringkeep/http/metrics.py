"""What the interface counts of itself: plain numbers on the hot path, Prometheus text when somebody asks."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from ringkeep.http.service import Service

if TYPE_CHECKING:
    from ringkeep.http.hub import Hub

BOUNDS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class RouteCounts:
    """Requests of one route: by status, and by time from the last byte of the request to its answer."""

    __slots__ = ("buckets", "method", "path", "seconds", "statuses")

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.seconds = 0.0

    def count(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        """Return the histogram as Prometheus wants it: counts at or below each bound."""
        total = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.buckets, strict=True):
            total += count
            found.append((bound, total))
        return found


class Collector:
    """Makes metric families of the hub's numbers and of the service's own samples."""

    def __init__(self, hub: "Hub", service: Service) -> None:
        self._hub = hub
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield every family; called for each scrape."""
        requests = CounterMetricFamily(
            "ringkeep_http_requests", "Answers to HTTP requests.", labels=("method", "route", "status")
        )
        latency = HistogramMetricFamily(
            "ringkeep_http_request_seconds",
            "From the last byte of a request to its answer.",
            labels=("method", "route"),
        )
        for route in self._hub.counts:
            for status, count in sorted(route.statuses.items()):
                requests.add_metric((route.method, route.path, str(status)), count)
            if route.statuses:
                latency.add_metric((route.method, route.path), route.cumulated(), route.seconds)
        yield requests
        yield latency
        hub = self._hub
        yield GaugeMetricFamily(
            "ringkeep_http_requests_in_flight", "Requests without their answer.", hub.in_flight
        )
        yield GaugeMetricFamily("ringkeep_http_connections", "Open client connections.", len(hub.connections))
        yield GaugeMetricFamily(
            "ringkeep_http_large_body_bytes", "Held for large request bodies.", hub.large_body_bytes
        )
        yield from self._samples()

    def _samples(self) -> Iterator[Metric]:
        for sample in self._service.metrics():
            names = next((tuple(name for name, _ in labels) for labels in sample.values), ())
            family = (CounterMetricFamily if sample.kind == "counter" else GaugeMetricFamily)(
                f"ringkeep_{sample.name}", sample.help, labels=names
            )
            for labels, value in sample.values.items():
                family.add_metric(tuple(text for _, text in labels), value)
            yield family


def exposition(hub: "Hub", service: Service) -> bytes:
    """Return the text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(hub, service))
    return generate_latest(registry)
