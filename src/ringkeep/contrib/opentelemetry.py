"""Traces and metrics of a client's calls, for OpenTelemetry: Client(…, observer=OpenTelemetryObserver()).

Each call is a span of the kind CLIENT under the current one, named after the operation, with the attributes
of OpenTelemetry's stable conventions for database clients (1.33): `db.system.name`, `db.operation.name`,
`db.operation.batch.size`, `server.address` and `server.port` of the node that was asked last,
`db.response.status_code` (HTTP), `error.type`. Attempts that came to nothing are events of the span. Keys and
values are not told.

Needs `opentelemetry-api`, and nothing further: without a provider that the program sets up it does nothing.
"""

import time
from contextvars import Token
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import context, metrics, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from ringkeep.client import Conflict, NotFound, Observation, Observer

SYSTEM: Final = "ringkeep"
BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)  # as the conventions advise
_ANSWERS: Final = (NotFound, Conflict)
"""What the store says of a key, and no failure of a call."""


class OpenTelemetryObserver(Observer):
    """Makes a span of each call; records `db.client.operation.duration` (seconds), and counts attempts that
    came to nothing in `ringkeep.client.failed_attempts`. The providers: by default the program's own."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self.tracer = trace.get_tracer("ringkeep.client", tracer_provider=tracer_provider)
        meter = metrics.get_meter("ringkeep.client", meter_provider=meter_provider)
        self.duration = meter.create_histogram(
            "db.client.operation.duration", "s", "How long calls take, with all their attempts",
            explicit_bucket_boundaries_advisory=BOUNDS_S,
        )  # fmt: skip
        self.failed = meter.create_counter(
            "ringkeep.client.failed_attempts", "{attempt}", "Attempts that came to nothing"
        )

    def begin(self, name: str, operations: int) -> Observation:
        """Begin a span, which is the current one until the call ends."""
        return _Call(self, name, operations)


class _Call(Observation):
    def __init__(self, observer: OpenTelemetryObserver, name: str, operations: int) -> None:
        self._observer = observer
        self._attributes: dict[str, Any] = {"db.system.name": SYSTEM, "db.operation.name": name}
        size = {"db.operation.batch.size": operations} if operations > 1 else {}
        self._span: Span = observer.tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes=self._attributes | size
        )
        self._token: Token[context.Context] = context.attach(trace.set_span_in_context(self._span))
        self._began = time.perf_counter()

    def attempt(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self._attributes["server.address"] = url.hostname or ""
        if url.port is not None:
            self._attributes["server.port"] = url.port

    def failed(self, reason: str) -> None:
        self._observer.failed.add(1, self._attributes)
        self._span.add_event("ringkeep.failed_attempt", {"ringkeep.reason": reason, **self._attributes})

    def end(self, status: int, error: BaseException | None) -> None:
        seconds = time.perf_counter() - self._began
        context.detach(self._token)
        if status:
            self._attributes["db.response.status_code"] = str(status)
        if error is not None and not isinstance(error, _ANSWERS):
            cancelled = isinstance(error, GeneratorExit)
            self._attributes["error.type"] = "cancelled" if cancelled else type(error).__qualname__
            self._span.set_status(StatusCode.ERROR)
        self._observer.duration.record(seconds, self._attributes)
        self._span.set_attributes(self._attributes)
        self._span.end()
