"""The order of one connection's requests, without a socket, a parser or a connection."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.support.http.fake_service import FakeService

from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.http.connection.exchange import AppRequest, Exchange
from ringkeep.http.connection.listener_state import NEVER, ListenerState
from ringkeep.http.connection.request_queue import RequestQueue
from ringkeep.http.limits import IN_FLIGHT_EACH, Patience
from ringkeep.http.problems import bad
from ringkeep.http.routes import KV_GET, KV_PUT


class Service(FakeService):
    """Keeps requests until the test answers them."""

    def submit(self, request: Request) -> None:
        if self.raises is not None:
            raise self.raises
        self.submitted.append(request)


class Owner:
    """A connection that only notes what it is asked."""

    def __init__(self) -> None:
        self.due = NEVER
        self.draining = False
        self.flushed = 0
        self.calls: list[Exchange] = []
        self.receiving = False
        self.input_ended = False

    def flush(self) -> None:
        self.flushed += 1

    def call_app(self, exchange: Exchange) -> None:
        self.calls.append(exchange)

    def end_input(self) -> bool:
        self.input_ended = not self.receiving
        return self.input_ended

    def overdue(self) -> None: ...

    def idle(self) -> bool:
        return False

    def stop(self) -> None: ...

    def abort(self) -> None: ...


class Bench:
    """A queue with its service and its owner."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.service = Service()
        self.owner = Owner()
        self.listener = ListenerState(self.service, loop, Patience())
        self.queue = RequestQueue(self.listener, self.owner)

    def read(self) -> Exchange:
        return self._add(KV_GET, Request(Kind.GET, b"k"), safe=True)

    def write(self) -> Exchange:
        return self._add(KV_PUT, Request(Kind.PUT, b"k"))

    def admin(self) -> Exchange:
        exchange = Exchange(self.listener, self.queue, b"GET")
        exchange.app_request = AppRequest(b"/livez", [])
        self.queue.add(exchange)
        return exchange

    def _add(self, route: int, request: Request, safe: bool = False) -> Exchange:
        exchange = Exchange(self.listener, self.queue, b"")
        exchange.route, exchange.request, exchange.safe = route, request, safe
        request.done = exchange.done
        self.queue.add(exchange)
        return exchange

    def answer(self, number: int) -> None:
        """Answer the request that was submitted as the `number`th."""
        request = self.service.submitted[number]
        status = Status.FOUND if request.kind is Kind.GET else Status.REPLACED
        request.done(Result(status, version=number + 1))

    def turn(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))

    @property
    def submitted(self) -> int:
        return len(self.service.submitted)


@pytest.fixture
def bench() -> Iterator[Bench]:
    loop = asyncio.new_event_loop()
    made = Bench(loop)
    yield made
    made.listener.close()
    loop.close()


def test_answers_leave_in_the_order_of_the_requests(bench: Bench) -> None:
    for _ in range(3):
        bench.read()
    bench.answer(2)
    assert not bench.queue.out
    bench.answer(0)
    bench.answer(1)
    assert [out.split(b'ETag: "')[1][:1] for out in bench.queue.out] == [b"1", b"2", b"3"]
    assert bench.listener.in_flight == 0 and not bench.queue.exchanges


def test_the_owner_is_flushed_once_for_all_answers_of_a_turn(bench: Bench) -> None:
    for _ in range(3):
        bench.read()
    for number in range(3):
        bench.answer(number)
    assert bench.owner.flushed == 0
    bench.turn()
    assert bench.owner.flushed == 1


def test_while_requests_are_added_the_owner_flushes_by_itself(bench: Bench) -> None:
    bench.queue.adding = True
    bench.read()
    bench.answer(0)
    bench.turn()
    assert bench.queue.out and bench.owner.flushed == 0


def test_a_write_runs_alone(bench: Bench) -> None:
    bench.read()
    bench.write()
    bench.read()
    bench.read()
    assert bench.submitted == 1 and len(bench.queue.parked) == 3
    bench.answer(0)
    assert bench.submitted == 2
    bench.answer(1)
    assert bench.submitted == 4 and not bench.queue.parked


def test_reads_in_flight_are_bounded(bench: Bench) -> None:
    for _ in range(IN_FLIGHT_EACH + 2):
        bench.read()
    assert bench.submitted == bench.listener.in_flight == IN_FLIGHT_EACH
    bench.answer(5)
    assert bench.submitted == IN_FLIGHT_EACH + 1


def test_the_admin_app_is_called_alone_and_after_the_answers_before_it(bench: Bench) -> None:
    bench.read()
    call = bench.admin()
    bench.read()
    assert not bench.owner.calls
    bench.answer(0)
    assert bench.owner.calls == [call] and bench.queue.out and bench.submitted == 1
    call.finish(200)
    bench.queue.answered()
    assert bench.submitted == 2


def test_a_refusal_keeps_its_place(bench: Bench) -> None:
    bench.read()
    refused = Exchange(bench.listener, bench.queue, b"GET")
    refused.fail(bad("No."))
    bench.queue.add(refused)
    assert not bench.queue.out
    bench.answer(0)
    assert [out[9:12] for out in bench.queue.out] == [b"200", b"400"]


def test_nothing_starts_while_the_client_does_not_read(bench: Bench) -> None:
    bench.queue.suspended = True
    bench.read()
    assert bench.submitted == 0
    bench.queue.suspended = False
    bench.queue.start_parked()
    assert bench.submitted == 1


def test_of_a_client_that_is_gone_only_what_was_started_runs(bench: Bench) -> None:
    bench.write()
    waiting = bench.read()
    waiting.reserved = 100
    bench.listener.reserve(100)
    bench.queue.abandon()
    assert bench.listener.large_body_bytes == 0
    bench.answer(0)
    bench.queue.start_parked()
    bench.turn()
    assert bench.submitted == 1 and bench.listener.in_flight == 0
    assert not bench.queue.out and bench.owner.flushed == 0


def test_a_service_that_raises_ends_only_that_request(bench: Bench) -> None:
    bench.service.raises = RuntimeError("a bug")
    bench.write()
    bench.service.raises = None
    bench.read()
    assert bench.queue.out[0][9:12] == b"500" and bench.submitted == 1


@pytest.mark.parametrize("receiving", [False, True])
def test_when_the_server_stops_the_last_answer_says_so(bench: Bench, receiving: bool) -> None:
    first, last = bench.read(), bench.read()
    bench.listener.stopping = True
    bench.owner.receiving = receiving
    bench.answer(0)
    assert not first.close and not bench.owner.input_ended
    bench.answer(1)
    assert last.close is bench.owner.input_ended is not receiving
    assert (b"Connection: close" in bench.queue.out[1]) is not receiving
