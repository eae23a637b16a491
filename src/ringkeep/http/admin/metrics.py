"""What the interface counts of itself: plain numbers on the hot path, Prometheus text when somebody asks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from ringkeep.histogram import Histogram
from ringkeep.http.service import Service

if TYPE_CHECKING:
    from ringkeep.http.connection.listener_state import ListenerState


class RouteCounts:
    """Requests of one route: by status, and by time from the last byte of the request to its answer."""

    __slots__ = ("method", "path", "statuses", "times")

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.statuses: dict[int, int] = {}
        self.times = Histogram()

    def count(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.times.add(seconds)


class Collector:
    """Makes metric families of the hub's numbers and of the service's own samples."""

    def __init__(self, hub: "ListenerState", service: Service) -> None:
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
                latency.add_metric((route.method, route.path), route.times.cumulated(), route.times.seconds)
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
        for name, text, times in self._service.times():
            yield HistogramMetricFamily(
                f"ringkeep_{name}", text, buckets=times.cumulated(), sum_value=times.seconds
            )
        for sample in self._service.metrics():
            names = next((tuple(name for name, _ in labels) for labels in sample.values), ())
            family = (CounterMetricFamily if sample.kind == "counter" else GaugeMetricFamily)(
                f"ringkeep_{sample.name}", sample.help, labels=names
            )
            for labels, value in sample.values.items():
                family.add_metric(tuple(text for _, text in labels), value)
            yield family


def exposition(hub: "ListenerState", service: Service) -> bytes:
    """Return the text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(hub, service))
    ProcessCollector(registry=registry)  # memory, processor time, open files; nothing where there is no /proc
    return generate_latest(registry)
