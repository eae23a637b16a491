"""Nasty bytes on the wire: framing, pipelining, Expect, versions, and clients that are slow or gone."""

import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.http.host import Host
from tests.support.http.wire import Wire
from tests.support.wait import until

from ringkeep.core.protocol.client_requests import Kind
from ringkeep.core.protocol.limits import MIB
from ringkeep.http.limits import IN_FLIGHT_EACH, Patience

CHUNKED = b"PUT /v1/kv/%b HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n%b"

BROKEN = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "http/0.9": b"GET /get?key=a\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http/2.0": b"GET /get?key=a HTTP/2.0\r\n{host}\r\n",
    "http/1.2": b"GET /get?key=a HTTP/1.2\r\n{host}\r\n",
    "no version": b"GET /get?key=a HTTP\r\n{host}\r\n",
    "bare line feeds": b"GET /get?key=a HTTP/1.1\nHost: a\n\n",
    "bare line feed in a field": b"GET /get?key=a HTTP/1.1\r\n{host}A: b\nC: d\r\n\r\n",
    "bare carriage return": b"GET /get?key=a HTTP/1.1\r\n{host}A: b\rC: d\r\n\r\n",
    "folded field": b"GET /get?key=a HTTP/1.1\r\n{host}A: b\r\n c\r\n\r\n",
    "space before colon": b"GET /get?key=a HTTP/1.1\r\nHost : a\r\n\r\n",
    "no colon": b"GET /get?key=a HTTP/1.1\r\n{host}nonsense\r\n\r\n",
    "bad field name": b"GET /get?key=a HTTP/1.1\r\n{host}a(b: c\r\n\r\n",
    "null in a field": b"GET /get?key=a HTTP/1.1\r\n{host}a: b\x00c\r\n\r\n",
    "space in the target": b"GET /get?key=a b HTTP/1.1\r\n{host}\r\n",
    "control in the target": b"GET /get?key=a\x01 HTTP/1.1\r\n{host}\r\n",
    "raw utf-8 in the target": "GET /get?key=ä HTTP/1.1\r\n{host}\r\n".encode(),
    "fragment": b"GET /get?key=a#b HTTP/1.1\r\n{host}\r\n",
    "relative target": b"GET get?key=a HTTP/1.1\r\n{host}\r\n",
    "https target": b"GET https://localhost/get?key=a HTTP/1.1\r\n{host}\r\n",
    "two hosts": b"GET /get?key=a HTTP/1.1\r\n{host}{host}\r\n",
    "length not a number": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Content-Length: x\r\n\r\nabc",
    "negative length": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\nabc",
    "signed length": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Content-Length: +3\r\n\r\nabc",
    "hexadecimal length": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Content-Length: 0x3\r\n\r\nabc",
    "empty length": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Content-Length:\r\n\r\nabc",
    "enormous length": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Content-Length: 99999999999999999999\r\n\r\nabc",
    "other lengths": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "length twice": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "length as a list": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Content-Length: 3, 3\r\n\r\nabc",
    "length and chunks": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Content-Length: 3\r\n{te}\r\n0\r\n\r\n",
    "chunks and length": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}{te}Content-Length: 3\r\n\r\n0\r\n\r\n",
    "chunks in http/1.0": b"PUT /v1/kv/broken HTTP/1.0\r\n{host}{te}\r\n0\r\n\r\n",
    "gzip": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "gzip, chunked": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, gzip": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}{te}{te}\r\n0\r\n\r\n",
    "chunk size no number": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}{te}\r\nxyz\r\nabc\r\n0\r\n\r\n",
    "negative chunk": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}{te}\r\n-1\r\nabc\r\n0\r\n\r\n",
    "enormous chunk": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}{te}\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "chunk too long for its size": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}{te}\r\n3\r\nabcd\r\n0\r\n\r\n",
    "chunk with bare line feeds": b"PUT /v1/kv/broken HTTP/1.1\r\n{host}{te}\r\n3\nabc\n0\n\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_bytes_that_are_not_http_get_a_400_and_the_end(base_url: str, name: str) -> None:
    with Wire(base_url) as wire:
        raw = BROKEN[name].replace(b"{te}", b"Transfer-Encoding: chunked\r\n")
        wire.send(raw.replace(b"{host}", f"Host: {wire.host}\r\n".encode()))
        answer = wire.read()
        assert answer.status == 400, answer
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["outcome"] == "not-applied"
        if name not in ("fragment", "two hosts", "relative target", "https target"):
            assert answer.headers["connection"] == "close"
            assert wire.closed()
    with Wire(base_url) as wire:
        assert wire.request("GET", "/v1/kv/broken").status == 404


def test_what_follows_broken_bytes_is_not_run(wire: Wire, connect: Callable[[], Wire], key: str) -> None:
    good = wire.render("PUT", f"/v1/kv/{key}", b"first")
    late = wire.render("PUT", f"/v1/kv/{key}-late", b"second")
    wire.send(good + b"nonsense\r\n\r\n" + late)
    assert [wire.read().status for _ in range(2)] == [201, 400]
    assert wire.closed()
    with connect() as other:
        assert other.request("GET", f"/v1/kv/{key}").body == b"first"
        assert other.request("GET", f"/v1/kv/{key}-late").status == 404


def test_chunked_bodies(wire: Wire, key: str) -> None:
    host = wire.host.encode()
    for body, value in (
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b'2;name="a;b"\r\nab\r\n1;x\r\nc\r\n0\r\nTrailer: t\r\nHost: evil\r\n\r\n', b"abc"),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n", b"0123456789" * 2),
    ):
        wire.send(CHUNKED % (key.encode(), host, body))
        assert wire.read().status in (200, 201)
        assert wire.request("GET", f"/v1/kv/{key}").body == value
    whole = CHUNKED % (key.encode(), host, b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    for number in range(len(whole)):
        wire.send(whole[number : number + 1])
    assert wire.read().status == 200
    assert wire.request("GET", f"/v1/kv/{key}").body == b"abcdefg"
    large = b"".join(b"10000\r\n" + b"x" * 65_536 + b"\r\n" for _ in range(64))
    wire.send(CHUNKED % (key.encode(), host, large + b"0\r\n\r\n"))
    assert wire.read().status == 200
    wire.send(CHUNKED % (key.encode(), host, large + b"1\r\nx\r\n0\r\n\r\n"))
    assert wire.read().status == 413


def test_pipelined_requests_are_answered_in_order(wire: Wire, key: str) -> None:
    paths = [f"/v1/kv/{key}-{number}" for number in range(3)]
    sent = []
    for path in paths:
        sent += [("PUT", path, b"1"), ("GET", path, None), ("PUT", path, b"2"), ("HEAD", path, None)]
        sent += [("GET", path, None), ("GET", "/livez", None), ("DELETE", path, None), ("GET", path, None)]
        sent += [("POST", "/nope", b"x"), ("GET", "/get?key=", None)]
    wire.send(b"".join(wire.render(*each) for each in sent))
    answers = [wire.read(method) for method, *_ in sent]
    assert [answer.status for answer in answers] == [201, 200, 200, 200, 200, 200, 204, 404, 404, 400] * 3
    assert [answer.body for answer in answers[:6]] == [b"", b"1", b"", b"", b"2", b"ok\n"]


def test_many_pipelined_requests(wire: Wire, key: str) -> None:
    wire.request("PUT", f"/v1/kv/{key}", b"v")
    count = 5_000
    wire.socket.settimeout(20)
    wire.send(wire.render("GET", f"/v1/kv/{key}") * count)
    for _ in range(count):
        assert wire.read().body == b"v"


def test_requests_in_flight_are_bounded_per_connection(host: Host, wire: Wire) -> None:
    host.service.delay_s = 0.05
    count = 4 * IN_FLIGHT_EACH
    wire.send(b"".join(wire.render("GET", f"/v1/kv/{number}") for number in range(count)))
    until(lambda: bool(host.service.submitted), "the first request arrives")
    most = 0
    for _ in range(count):
        assert wire.read().status == 404
        most = max(most, host.call(lambda: host.server.listener.in_flight))
    assert 0 < most <= IN_FLIGHT_EACH
    assert [request.key for request in host.service.submitted] == [b"%d" % n for n in range(count)]


def test_a_pipelined_write_runs_alone(host: Host, wire: Wire, key: str) -> None:
    host.service.delay_s = 0.02
    path = f"/v1/kv/{key}"
    order = [("GET", None), ("PUT", b"1"), ("GET", None), ("GET", None), ("PUT", b"2"), ("GET", None)]
    wire.send(b"".join(wire.render(method, path, body) for method, body in order))
    assert [wire.read().status for _ in order] == [404, 201, 200, 200, 200, 200]
    assert [r.kind is Kind.PUT for r in host.service.submitted] == [m == "PUT" for m, _ in order]


def test_expect_100_continue(wire: Wire, connect: Callable[[], Wire], key: str) -> None:
    head = wire.render("PUT", f"/v1/kv/{key}", None, content_length="5", expect="100-continue")
    wire.send(head)
    assert wire.read().status == 100
    wire.send(b"value")
    assert wire.read().status == 201
    wire.send(head + b"value")  # the body did not wait: no need for an interim answer
    assert wire.read().status == 200
    for target, headers, status in (
        (f"/v1/kv/{key}", {"content_length": str(5 * MIB)}, 413),
        (f"/v1/kv/{key}", {"content_length": "5", "content_encoding": "gzip"}, 415),
        (f"/v1/kv/{key}", {"content_length": "5", "origin": "http://evil.example"}, 403),
        ("/v1/kv/", {"content_length": "5"}, 400),
    ):
        with connect() as other:
            other.send(other.render("PUT", target, None, expect="100-continue", **headers))
            answer = other.read()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert other.closed()
    with connect() as other:
        assert other.request("PUT", f"/v1/kv/{key}", b"x", expect="miracles").status == 417


def test_continue_waits_for_the_answers_before_it(host: Host, wire: Wire, key: str) -> None:
    host.service.delay_s = 0.05
    put = wire.render("PUT", f"/v1/kv/{key}", None, content_length="1", expect="100-continue")
    wire.send(wire.render("GET", f"/v1/kv/{key}") + put)
    assert [wire.read().status, wire.read().status] == [404, 100]
    wire.send(b"x")
    assert wire.read().status == 201


def test_http_1_0_and_connection_close(connect: Callable[[], Wire], key: str) -> None:
    with connect() as wire:
        wire.send(f"GET /get?key={key} HTTP/1.0\r\n\r\n".encode())
        answer = wire.read()
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        assert wire.closed()
    with connect() as wire:
        for _ in range(2):
            wire.send(f"GET /get?key={key} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
            assert wire.read().headers["connection"] == "keep-alive"
    for target in (f"/get?key={key}", "/livez", "/nope"):
        with connect() as wire:
            late = wire.render("PUT", f"/v1/kv/{key}", b"late")
            wire.send(wire.render("GET", target, connection="close") + late)
            assert wire.read().headers["connection"] == "close"
            assert wire.closed()
    with connect() as wire:
        assert wire.request("GET", f"/v1/kv/{key}").status == 404


OFFERS: dict[str, dict[str, Any]] = {
    "h2c": {"upgrade": "h2c", "connection": "Upgrade, HTTP2-Settings", "http2_settings": "AAEAAEAAAAIAAAAB"},
    "websocket": {"upgrade": "websocket", "connection": "Upgrade", "sec_websocket_version": "13"},
    "several": {"upgrade": "TLS/1.3, h2c", "connection": "keep-alive, upgrade"},
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=list(OFFERS))
def test_an_offer_of_another_protocol_is_passed_over(
    connect: Callable[[], Wire], key: str, offer: dict[str, Any]
) -> None:
    """With bodies and without, in one piece and in many, on data and admin routes, on one connection."""
    path = f"/v1/kv/{key}"
    chunked = b"5\r\nthree\r\n0\r\n\r\n"
    with connect() as wire:
        assert wire.request("PUT", path, b"one", **offer).status == 201
        assert wire.request("GET", path, **offer).body == b"one"
        assert wire.request("PUT", path, b"", **offer).status == 200
        assert wire.request("POST", "/v1/cluster/moves/resume", b"{}", **offer).status == 202
        assert wire.request("GET", "/livez", **offer).body == b"ok\n"
        large = wire.render("PUT", path, b"two" * 50_000, **offer)
        together = wire.render("GET", path, **offer)
        in_chunks = wire.render("PUT", path, None, transfer_encoding="chunked", **offer) + chunked
        sent = large + together + in_chunks + together
        for at in range(0, len(sent), 60_007):
            wire.send(sent[at : at + 60_007])
        assert [wire.read().status for _ in range(4)] == [200] * 4
        for byte in in_chunks + together:
            wire.send(bytes([byte]))
        assert wire.read().status == 200
        assert wire.read().body == b"three"
        wire.send(wire.render("PUT", path, None, content_length="4", expect="100-continue", **offer))
        assert wire.read().status == 100
        wire.send(b"four")
        assert wire.read().status == 200
    with connect() as wire:
        assert wire.request("PUT", path, b"x" * (5 * MIB), **offer).status == 413
    with connect() as wire:
        wire.send(wire.render("PUT", path, None, transfer_encoding="chunked", **offer) + b"5\r\nthreex\r\n")
        assert wire.read().status == 400
        assert wire.closed()


def test_absolute_targets_and_connect(connect: Callable[[], Wire], key: str) -> None:
    with connect() as wire:
        assert wire.request("GET", f"http://{wire.host}/get?key={key}", host="x").status == 404
        assert wire.request("GET", f"HTTP://{wire.host}/livez").body == b"ok\n"
        assert wire.request("GET", f"http://evil.example/get?key={key}", accept_language="en").status == 403
        assert wire.request("OPTIONS", "*").status == 405
    with connect() as wire:
        wire.send(wire.render("CONNECT", "example.com:80") + b"whatever")
        assert wire.read().status == 405
        assert wire.closed()


def test_data_and_admin_requests_share_a_connection(wire: Wire, key: str) -> None:
    for _ in range(3):
        assert wire.request("GET", "/v1/cluster").status == 200
        assert wire.request("PUT", f"/v1/kv/{key}", b"v").status in (200, 201)
        assert wire.request("HEAD", "/livez").status == 200
        assert wire.request("POST", "/livez", b"x" * 1_000).status == 405
        assert wire.request("GET", f"/v1/kv/{key}").body == b"v"
    assert wire.request("GET", "/livez", b"x" * 70_000).status == 413


def test_a_client_that_only_stops_sending_gets_its_answers(wire: Wire, key: str) -> None:
    wire.send(wire.render("PUT", f"/v1/kv/{key}", b"v") + wire.render("GET", f"/v1/kv/{key}"))
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.read().status == 201
    assert wire.read().body == b"v"
    assert wire.closed()


@pytest.mark.parametrize("part", [b"PU", b"PUT /v1/kv/%b HTTP/1.1\r\nHo", b"whole head"])
def test_a_request_that_is_cut_off_is_not_applied(
    wire: Wire, connect: Callable[[], Wire], key: str, part: bytes
) -> None:
    if part == b"whole head":
        part = wire.render("PUT", f"/v1/kv/{key}", None, content_length="5") + b"abc"
    wire.send(part)
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.read().status == 400
    assert wire.closed()
    with connect() as other:
        assert other.request("GET", f"/v1/kv/{key}").status == 404


def test_a_client_that_vanishes_after_its_request(host: Host, key: str) -> None:
    host.service.delay_s = 0.05
    with Wire(host.url) as wire:
        wire.send(wire.render("PUT", f"/v1/kv/{key}", b"x" * 100_000))
        until(lambda: bool(host.service.submitted), "the write arrives")
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: key.encode() in host.service.records, "the write is applied")
    listener = host.server.listener
    until(
        lambda: host.call(lambda: (listener.in_flight, listener.large_body_bytes)) == (0, 0),
        "nothing is held",
    )
    with Wire(host.url) as wire:
        assert wire.request("GET", f"/v1/kv/{key}").status == 200


def test_a_client_that_vanishes_within_its_body(host: Host, key: str) -> None:
    with Wire(host.url) as wire:
        wire.send(wire.render("PUT", f"/v1/kv/{key}", None, content_length="100000") + b"x" * 70_000)
        listener = host.server.listener
        until(lambda: host.call(lambda: listener.large_body_bytes) == 100_000, "the body is on its way")
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: host.call(lambda: listener.large_body_bytes) == 0, "its room is given back")
    assert key.encode() not in host.service.records


IMPATIENT = Patience(head_s=0.15, stall_s=0.15, body_s=0.4, idle_s=0.3, drain_s=0.3, write_s=0.4)


def test_a_request_that_never_ends_is_a_408(make_host: Callable[..., Host]) -> None:
    host = make_host(patience=IMPATIENT)
    with Wire(host.url) as wire:
        head = wire.render("PUT", "/v1/kv/slow", None, content_length="5")
    for part in (b"P", head[:-2], head, head + b"abc"):
        with Wire(host.url) as wire:
            wire.send(part)
            answer = wire.read()
            assert answer.status == 408 and answer.json()["retryable"] is True
            assert wire.closed()
    with Wire(host.url) as wire:  # a byte now and then does not help
        wire.send(head.replace(b"Length: 5", b"Length: 500").replace(b"length: 5", b"length: 500"))
        wire.socket.settimeout(0.05)
        for _ in range(100):
            try:
                if wire.socket.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                wire.send(b"x")
        assert wire.read().status == 408
    assert not host.service.records


def test_an_idle_connection_is_closed_without_a_word(make_host: Callable[..., Host]) -> None:
    host = make_host(patience=IMPATIENT)
    with Wire(host.url) as wire, Wire(host.url) as silent:
        assert wire.request("GET", "/livez").status == 200
        assert wire.closed()
        assert silent.closed()


def test_waiting_for_an_answer_is_not_idling(make_host: Callable[..., Host]) -> None:
    host = make_host(patience=IMPATIENT)
    host.service.delay_s = 0.6
    with Wire(host.url) as wire:
        assert wire.request("GET", "/v1/kv/a").status == 404


def test_a_client_that_waits_for_100_is_not_slow(make_host: Callable[..., Host]) -> None:
    host = make_host(patience=IMPATIENT)
    host.service.delay_s = 0.5
    with Wire(host.url) as wire:
        put = wire.render("PUT", "/v1/kv/a", None, content_length="1", expect="100-continue")
        wire.send(wire.render("GET", "/v1/kv/a") + put)
        assert [wire.read().status, wire.read().status] == [404, 100]
        wire.send(b"x")
        assert wire.read().status == 201


def test_a_client_that_does_not_read_is_dropped(make_host: Callable[..., Host]) -> None:
    host = make_host(patience=IMPATIENT)
    with Wire(host.url) as wire:
        assert wire.request("PUT", "/v1/kv/large", b"x" * 4 * MIB).status == 201
        wire.send(wire.render("GET", "/v1/kv/large") * 20)
        until(lambda: not host.call(lambda: host.server.listener.connections), "the connection is dropped")
    assert host.call(lambda: host.server.listener.in_flight) == 0


def test_a_drain_ends(make_host: Callable[..., Host]) -> None:
    host = make_host(patience=IMPATIENT)
    with Wire(host.url) as wire:
        wire.send(wire.render("PUT", "/v1/kv/x", None, content_length=str(9 * MIB)))
        assert wire.read().status == 413
        until(lambda: not host.call(lambda: host.server.listener.connections), "the connection is dropped")
