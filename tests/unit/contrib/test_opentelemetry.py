"""The spans and metrics of a client's calls."""

import asyncio
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ringkeep.client import AsyncClient, Client, Indeterminate, NotFound
from ringkeep.client.blocking.transport import Urllib3Transport
from ringkeep.client.calls.exchange import Failure, Response, Send
from ringkeep.contrib.opentelemetry import OpenTelemetryObserver

NODE = {"ringkeep-node": "n1"}


class Telemetry:
    """An observer, and what it has recorded."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")
        self.observer = OpenTelemetryObserver(provider, MeterProvider([self._reader]))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    @property
    def metrics(self) -> dict[str, Any]:
        data: Any = self._reader.get_metrics_data()
        return {
            each.name: each.data.data_points for each in data.resource_metrics[0].scope_metrics[0].metrics
        }


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Response | Failure]:
    given: list[Response | Failure] = []
    monkeypatch.setattr(Urllib3Transport, "send", lambda _, action: given.pop(0))
    return given


def test_a_call_is_a_span_with_its_attempts(answers: list[Response | Failure]) -> None:
    telemetry = Telemetry()
    answers += [Failure("it is down", sent=False), Response(201, {"etag": '"7"', **NODE}, b"")]
    store = Client("http://a:8000", follow=False, observer=telemetry.observer)
    with telemetry.tracer.start_as_current_span("request") as around:
        store.put("SECRET", b"SECRET")
        assert trace.get_current_span() is around
    span, _ = telemetry.spans
    assert (span.name, span.kind, span.status.status_code) == ("put", SpanKind.CLIENT, StatusCode.UNSET)
    assert span.parent == around.get_span_context()
    assert dict(span.attributes or {}) == {
        "db.system.name": "ringkeep", "db.operation.name": "put", "server.address": "a", "server.port": 8000,
        "db.response.status_code": "201",
    }  # fmt: skip
    assert [(each.name, (each.attributes or {})["ringkeep.reason"]) for each in span.events] == [
        ("ringkeep.failed_attempt", "it is down")
    ]
    assert "SECRET" not in span.to_json()
    [duration], [failed] = (
        telemetry.metrics[name]
        for name in ("db.client.operation.duration", "ringkeep.client.failed_attempts")
    )
    assert (duration.count, failed.value) == (1, 1) and duration.explicit_bounds[0] == 0.001


@pytest.mark.parametrize(
    ("answer", "error", "code", "kind"),
    [
        (Response(404, NODE, b"{}"), NotFound, StatusCode.UNSET, None),
        (Failure("it broke", sent=True), Indeterminate, StatusCode.ERROR, "Indeterminate"),
    ],
)
def test_only_what_fails_is_an_error(
    answers: list[Response | Failure], answer: Response | Failure, error: type[Exception], code: StatusCode,
    kind: str | None,
) -> None:  # fmt: skip
    telemetry = Telemetry()
    answers += [answer] * 1_000
    store = Client("http://a:8000", follow=False, timeout=0.05, observer=telemetry.observer)
    with pytest.raises(error):
        store.take("k")
    [span] = telemetry.spans
    assert span.status.status_code is code and (span.attributes or {}).get("error.type") == kind


def test_requests_side_by_side_belong_to_the_span_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of a call of many keys have the context of the one that made it."""
    telemetry = Telemetry()

    def send(_: object, action: Send) -> Response:
        return Response(200, NODE, b'{"results":[{"status":404}]}')

    monkeypatch.setattr(Urllib3Transport, "send", send)
    store = Client("http://a:8000", follow=False, observer=telemetry.observer)
    monkeypatch.setattr(type(store._nodes), "place", lambda _, key: key)
    with telemetry.tracer.start_as_current_span("request") as around:
        assert store.get_many(["a", "b", "c"]) == {}
    spans = telemetry.spans[:-1]
    assert [span.name for span in spans] == ["batch"] * 3
    assert all(span.parent == around.get_span_context() for span in spans)


def test_a_cancelled_call_ends_its_span() -> None:
    telemetry = Telemetry()

    async def run() -> None:
        async with AsyncClient("http://192.0.2.1:9", follow=False, observer=telemetry.observer) as store:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(store.get("k"), 0.01)

    asyncio.run(run())
    [span] = telemetry.spans
    assert (span.attributes or {})["error.type"] == "cancelled"
