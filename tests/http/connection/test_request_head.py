"""What the head of a request decides, without a connection or a parser."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.support.http.fake_service import FakeService

from ringkeep.core.protocol.client_requests import ABSENT, Kind
from ringkeep.core.protocol.limits import VALUE_BYTES
from ringkeep.http.connection.allowed_hosts import Hosts
from ringkeep.http.connection.exchange import CLOSE, KEEP, Exchange
from ringkeep.http.connection.listener_state import ListenerState
from ringkeep.http.connection.request_head import complete, read_head
from ringkeep.http.limits import IN_FLIGHT, Patience
from ringkeep.http.problems import Problem
from ringkeep.http.routes import KV_PUT, OTHER, PUT3, methods_of

HOST = (b"Host", b"localhost:80")
LENGTH = (b"Content-Length", b"5")


class Nobody:
    """Owns an exchange that is never started."""

    def answered(self) -> None:
        raise AssertionError("nothing was started")

    def close_if_last(self, exchange: Exchange) -> None:
        raise AssertionError("nothing was started")


@pytest.fixture
def listener() -> Iterator[ListenerState]:
    loop = asyncio.new_event_loop()
    state = ListenerState(FakeService(), loop, Patience())
    state.hosts = Hosts(("localhost:80",), 80)
    yield state
    state.close()
    loop.close()


def head(
    listener: ListenerState,
    method: bytes,
    target: bytes,
    *fields: tuple[bytes, bytes],
    version: str = "1.1",
    keep_alive: bool = True,
) -> Exchange:
    exchange = Exchange(listener, Nobody(), method)
    read_head(exchange, listener, target, [HOST, *fields], version, keep_alive)
    return exchange


def test_a_write(listener: ListenerState) -> None:
    exchange = head(listener, b"PUT", b"/v1/kv/a%2Fb?timeout=2s", LENGTH, (b"if-none-match", b"*"))
    request = exchange.request
    assert request is not None
    assert (request.kind, request.key, request.timeout_ms) == (Kind.PUT, b"a/b", 2_000)
    assert request.condition == ABSENT and exchange.body_limit == VALUE_BYTES
    assert (exchange.route, exchange.safe, exchange.close) == (KV_PUT, False, False)
    complete(exchange, b"value")
    assert request.value == b"value"


def test_a_request_for_the_admin_app_is_kept_as_it_came(listener: ListenerState) -> None:
    exchange = head(listener, b"POST", b"http://localhost/v1/cluster/moves/pause?x", LENGTH)
    assert exchange.request is None and exchange.route == OTHER
    complete(exchange, b"{}")
    asked = exchange.app_request
    assert asked is not None
    assert (asked.target, asked.headers, asked.body) == (
        b"/v1/cluster/moves/pause?x",
        [HOST, LENGTH],
        b"{}",
    )


@pytest.mark.parametrize(
    ("version", "keep_alive", "line"),
    [("1.1", True, b""), ("1.1", False, CLOSE), ("1.0", True, KEEP), ("1.0", False, CLOSE)],
)
def test_whether_the_connection_is_kept(
    listener: ListenerState, version: str, keep_alive: bool, line: bytes
) -> None:
    exchange = head(listener, b"GET", b"/v1/kv/a", version=version, keep_alive=keep_alive)
    assert exchange.connection_line == line and exchange.close is (line == CLOSE)


def test_a_refusal_knows_the_route_that_decides_how_it_looks(listener: ListenerState) -> None:
    exchange = Exchange(listener, Nobody(), b"POST")
    with pytest.raises(Problem) as refused:
        read_head(exchange, listener, b"/put", [HOST], "1.1", True)
    assert refused.value.kind.status == 411 and exchange.route == PUT3


def test_a_full_node_refuses_data_and_not_the_operator(listener: ListenerState) -> None:
    listener.in_flight = IN_FLIGHT
    with pytest.raises(Problem) as refused:
        head(listener, b"GET", b"/v1/kv/a")
    assert refused.value.kind.status == 429
    assert head(listener, b"GET", b"/v1/cluster").app_request is not None


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (b"/put", "POST"),
        (b"/get", "GET"),
        (b"/delete", "DELETE"),
        (b"/v1/kv/a/b", "GET, HEAD, PUT, DELETE, POST"),
        (b"/v1/cluster/moves", "GET, HEAD"),
        (b"/v1/cluster/moves/cancel", "POST"),
        (b"/v1/cluster/nodes/n1/undrain", "POST"),
        (b"/v1/cluster/nodes/n1/unknown", "GET, HEAD"),
        (b"/v1/cluster/settings", "GET, HEAD, PATCH"),
        (b"/v1/cluster/recover", "POST"),
        (b"/livez", "GET, HEAD"),
    ],
)
def test_the_methods_of_a_path(path: bytes, methods: str) -> None:
    assert methods_of(path) == methods
