"""A head that is compared with an earlier one is read as the parser reads it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest
from tests.support.http.fake_service import FakeService

from ringkeep.core.protocol.limits import KEY_BYTES
from ringkeep.http.connection.allowed_hosts import Hosts
from ringkeep.http.connection.exchange import Exchange
from ringkeep.http.connection.listener_state import NEVER, ListenerState
from ringkeep.http.connection.repeated_head import RepeatedHeads
from ringkeep.http.connection.request_queue import RequestQueue
from ringkeep.http.connection.request_reader import RequestReader
from ringkeep.http.limits import IN_FLIGHT, LARGE_BODY_BYTES, Patience


class Owner:
    """A connection of which nothing is asked."""

    due = NEVER
    draining = False

    def call_app(self, exchange: Exchange) -> None: ...

    def end_input(self) -> bool:
        return True

    def overdue(self) -> None: ...

    def flush(self) -> None: ...

    def idle(self) -> bool:
        return False

    def stop(self) -> None: ...

    def abort(self) -> None: ...


@dataclass(eq=False)
class Queue(RequestQueue):
    """Keeps what a reader makes, and starts nothing."""

    listener: ListenerState
    made: list[tuple[object, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.listener, Owner())

    def add(self, exchange: Exchange) -> None:
        request, app = exchange.request, exchange.app_request
        self.made.append((
            exchange.method, exchange.route, exchange.safe, exchange.close, exchange.connection_line,
            exchange.body_limit, exchange.match, exchange.none_match, exchange.answered, exchange.answer,
            request and (request.kind, request.key, request.value, request.content_type, request.condition,
                         request.idempotency, request.fingerprint, request.timeout_ms, request.stale,
                         request.at_least, request.ttl_ms),
            app and (app.target, app.headers, app.body),
        ))  # fmt: skip


@pytest.fixture
def listener() -> Iterator[ListenerState]:
    loop = asyncio.new_event_loop()
    state = ListenerState(FakeService(), loop, Patience())
    state.hosts = Hosts(("localhost:80",), 80)
    yield state
    state.close()
    loop.close()


FIELDS = [
        b"host:localhost", b"Host: other.example", b"Content-Length: 3",
        b"content-length: 2", b"Content-Length:  3", b"Transfer-Encoding: chunked",
        b"Connection: close", b"Connection: keep-alive",
        b"Expect: 100-continue", b"If-Match: *", b'If-Match: "7"', b"If-None-Match: *", b"Upgrade: h2c",
        b"Content-Type: text/plain", b"Idempotency-Key: k", b"Origin: http://elsewhere.example",
        b"X: content-length: 3", b"X: a\n b", b"X: a\r\n b", b"Content-Encoding: gzip",
        b"Accept-Language: en",
    ]  # fmt: skip
LINES = [
    b"GET /v1/kv/%b HTTP/1.1", b"PUT /v1/kv/%b HTTP/1.1", b"DELETE /v1/kv/%b HTTP/1.1",
    b"POST /v1/kv/%b HTTP/1.1", b"PUT /v1/kv/%b?ttl=1s HTTP/1.1",
    b"HEAD /v1/kv/%b HTTP/1.1",
    b"GET /get?key=%b HTTP/1.1", b"DELETE /delete?key=%b HTTP/1.1", b"POST /put HTTP/1.1",
    b"POST /put?key=%b HTTP/1.1",
    b"GET /v1/kv/%b HTTP/1.0", b"GET  /v1/kv/%b HTTP/1.1", b"PUT /v1/kv/%b?timeout=1s HTTP/1.1",
    b"GET /livez HTTP/1.1",
]  # fmt: skip
KEYS = [b"a", b"b/c", b"", b"a%2Fb", b"a%zz", b"a+b", b"a&b", b"a=b", b"k" * (KEY_BYTES + 1), b"a?b", b"#"]
BODIES = [
    b"",
    b"abc",
    b"ab",
    b'{"key":"a","value":"b"}',
    b'{"op":"take"}',
    b'{"op":"add","ttl":"1s","if_version":7}',
    b"3\r\nabc\r\n0\r\n\r\n",
    b"\r\n\r\n",
]
ENDS = [b"\r\n\r\n", b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n\n"]


def alike(rng: Random) -> list[bytes]:
    """Return requests whose heads are alike but for the key and the length of the body, most of the time."""
    line, fields, end = rng.choice(LINES), rng.sample(FIELDS, rng.choice((0, 0, 1, 1, 2))), rng.choice(ENDS)
    sized = rng.random() < 0.7
    requests = []
    for _ in range(rng.randint(2, 4)):
        if rng.random() < 0.1:
            line, fields = rng.choice(LINES), rng.sample(FIELDS, 1)
        body = rng.choice(BODIES)
        length = [b"Content-Length: %d" % len(body)] if sized else []
        first = line % rng.choice(KEYS) if b"%b" in line else line
        requests.append(b"\r\n".join([first, b"Host: localhost", *length, *fields]) + end + body)
    return requests


class Forgetful(RepeatedHeads):
    """Recognises nothing: all is parsed."""

    def take(self, data: bytes, at: int) -> None:
        return None


def read(listener: ListenerState, pieces: list[bytes], forgetful: bool) -> tuple[object, ...]:
    queue = Queue(listener)
    reader = RequestReader(listener, queue)
    if forgetful:
        reader.repeated = Forgetful(listener, queue)
    for piece in pieces:
        if not reader.ended:
            reader.feed(piece)
    return queue.made, reader.ended, reader.receiving, reader.in_body, reader.continue_wanted


def test_what_is_recognised_is_what_the_parser_reads(listener: ListenerState) -> None:
    rng = Random(1)
    for _ in range(20_000):
        pieces = alike(rng)
        sent = rng.choice(("whole", "pipelined", "cut"))
        if sent != "whole":
            pieces = [b"".join(pieces)]
        if sent == "cut":
            size = rng.randint(1, 60)
            pieces = [pieces[0][at : at + size] for at in range(0, len(pieces[0]), size)]
        assert read(listener, pieces, forgetful=False) == read(listener, pieces, forgetful=True), pieces


def learned(listener: ListenerState, request: bytes) -> RepeatedHeads:
    """Return what remembers the head of a request, as a reader has it."""
    queue = Queue(listener)
    reader = RequestReader(listener, queue)
    reader.feed(request)
    assert len(queue.made) == 1
    return reader.repeated


HEAD = b" HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
PUT = b"PUT /v1/kv/%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n\r\n%b"


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        (b"GET /v1/kv/a" + HEAD, b"GET /v1/kv/b/c" + HEAD, b"b/c"),
        (b"GET /get?key=a" + HEAD, b"GET /get?key=bc" + HEAD, b"bc"),
        (b"DELETE /v1/kv/a%20" + HEAD, b"DELETE /v1/kv/b" + HEAD, None),
        (b"GET /v1/kv/a" + HEAD, b"GET /v1/kv/b%20" + HEAD, None),
        (b"GET /v1/kv/a" + HEAD, b"DELETE /v1/kv/b" + HEAD, None),
        (PUT % (b"a", 3, b"abc"), PUT % (b"b", 12, b"a" * 12), b"b"),
        (PUT % (b"a", 3, b"abc"), PUT % (b"b", 12, b"a" * 11), None),
        (PUT % (b"a", 3, b"abc"), PUT % (b"b", LARGE_BODY_BYTES + 1, b"a" * (LARGE_BODY_BYTES + 1)), None),
    ],
)
def test_what_is_recognised(listener: ListenerState, first: bytes, second: bytes, key: bytes | None) -> None:
    taken = learned(listener, first).take(second, 0)
    assert (taken is not None) == (key is not None)
    if taken is not None:
        exchange, _, end = taken
        assert exchange.request is not None
        assert (exchange.request.key, end) == (key, len(second))


def test_what_is_to_be_refused_is_left_to_the_parser(listener: ListenerState) -> None:
    request = b"GET /v1/kv/a" + HEAD
    repeated = learned(listener, request)
    listener.in_flight = IN_FLIGHT
    assert repeated.take(request, 0) is None
    listener.in_flight = 0
    assert isinstance(listener.service, FakeService)
    listener.service.reason = "it starts"
    assert repeated.take(request, 0) is None


def test_a_connection_that_repeats_nothing_is_no_longer_watched(listener: ListenerState) -> None:
    queue = Queue(listener)
    reader = RequestReader(listener, queue)
    for number in range(20):
        reader.feed(b"GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nX: %d\r\n\r\n" % number)
    repeated = reader.repeated
    assert repeated.take(b"GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nX: 19\r\n\r\n", 0) is None
    assert repeated.take(b"GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nX: 7\r\n\r\n", 0) is not None
