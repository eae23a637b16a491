"""Metrics as Prometheus text: the interface's own counters, and the samples of its node."""

from collections.abc import Iterator, Sequence, Sized
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from ringkeep.http.routes import RouteCounts
from ringkeep.http.service import Service


class ListenerNumbers(Protocol):
    """What is shown of the listener."""

    @property
    def counts(self) -> Sequence[RouteCounts]:
        """The answers, by route."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests without their answer."""
        ...

    @property
    def connections(self) -> Sized:
        """The open ones."""
        ...

    @property
    def large_body_bytes(self) -> int:
        """Held for large request bodies."""
        ...


class Collector:
    """Makes metric families of the listener's numbers and of the service's own samples."""

    def __init__(self, listener: ListenerNumbers, service: Service) -> None:
        self._listener = listener
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
        for route in self._listener.counts:
            for status, count in sorted(route.statuses.items()):
                requests.add_metric((route.method, route.path, str(status)), count)
            if route.statuses:
                latency.add_metric((route.method, route.path), route.times.cumulated(), route.times.seconds)
        yield requests
        yield latency
        listener = self._listener
        yield GaugeMetricFamily(
            "ringkeep_http_requests_in_flight", "Requests without their answer.", listener.in_flight
        )
        yield GaugeMetricFamily(
            "ringkeep_http_connections", "Open client connections.", len(listener.connections)
        )
        yield GaugeMetricFamily(
            "ringkeep_http_large_body_bytes", "Held for large request bodies.", listener.large_body_bytes
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


def exposition(listener: ListenerNumbers, service: Service) -> bytes:
    """Return the text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(listener, service))
    ProcessCollector(registry=registry)  # memory, processor time, open files; nothing where there is no /proc
    return generate_latest(registry)
