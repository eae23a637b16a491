"""What the parser lets through, held against h11: a request that h11 refuses must not be run here."""

from typing import Any

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.http.host import Host
from tests.support.http.wire import Wire

from ringkeep.core.protocol.client_requests import Request

# Differences that were looked at, and are harmless: two blanks after the method, and RTSP's and ICE's names
# for the version, which the parser takes for HTTP/1.0.
HARMLESS = (b"  /", b"RTSP/", b"ICE/")

PIECES = st.sampled_from(
    [
        b"PUT /v1/kv/o HTTP/1.1\r\n",
        b"GET /v1/kv/o HTTP/1.1\r\n",
        b"DELETE /v1/kv/o HTTP/1.0\r\n",
        b"Host: localhost\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"If-Match: *\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\n",
        b" ",
        b"\t",
        b"\x00",
        b"\xff",
        b":",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\nT: t\r\n\r\n",
    ]
)
HEADS = st.sampled_from([b"PUT /v1/kv/o HTTP/1.1\r\nHost: localhost\r\n", b"GET /v1/kv/o HTTP/1.1\r\n", b""])


def requests_of_h11(data: bytes) -> list[tuple[bytes, bytes, bytes]] | None:
    """Return the whole requests (method, target, body) that h11 reads before the first error or the end.

    None if it ends at a missing Host: that request gets a 400 here too, but its framing is beyond doubt, and
    the connection goes on.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    connection.receive_data(b"")
    found: list[Any] = []
    while True:
        body = b""
        try:
            event = connection.next_event()
            if not isinstance(event, h11.Request):
                return found
            request = event
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if not isinstance(event, h11.Data):
                    return found
                body += bytes(event.data)
        except h11.RemoteProtocolError as error:
            if "no request line" in str(error):  # an empty line before it is passed over (RFC 9112, 2.2)
                rest = requests_of_h11(connection.trailing_data[0])
                return found + rest if rest is not None else None
            return None if "Host" in str(error) else found
        found.append((bytes(request.method), bytes(request.target), body))
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        try:
            connection.start_next_cycle()
        except h11.LocalProtocolError:
            return found


def test_an_empty_line_before_a_request_is_passed_over(host: Host) -> None:
    data = b"\r\nDELETE /v1/kv/o HTTP/1.0\r\n\r\n"
    assert requests_of_h11(data) == [(b"DELETE", b"/v1/kv/o", b"")]
    assert [request.key for request in ran(host, data)] == [b"o"]


def ran(host: Host, data: bytes) -> list[Request]:
    """Send the bytes, wait until the server has ended the connection, and return what reached the node."""
    host.service.submitted.clear()
    with Wire(host.url) as wire:
        wire.send(data)
        wire.socket.shutdown(1)
        try:
            while wire.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
    return list(host.service.submitted)


@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(HEADS, st.lists(PIECES, max_size=12))
def test_nothing_runs_that_h11_does_not_read_the_same_way(
    host: Host, head: bytes, pieces: list[bytes]
) -> None:
    data = head + b"".join(pieces)
    expected = requests_of_h11(data)
    got = ran(host, data)
    if expected is None or any(mark in data for mark in HARMLESS):
        return
    position = 0
    for request in got:  # a subsequence of what h11 read: we may refuse more, never run another request
        matching = [
            number
            for number, (_, target, body) in enumerate(expected[position:], position)
            if target.endswith(b"/v1/kv/o") and request.value in (body, b"")
        ]
        assert matching, (data, got, expected)
        if request.value:
            assert request.value == expected[matching[0]][2]
        position = matching[0] + 1


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_leave_the_node_standing(host: Host, data: bytes) -> None:
    ran(host, data)
    with Wire(host.url) as wire:
        assert wire.request("GET", "/livez").status == 200


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=60), st.binary(max_size=200), st.lists(st.integers(1, 90), max_size=8))
def test_any_key_and_value_pass_in_any_pieces(host: Host, key: bytes, value: bytes, cuts: list[int]) -> None:
    path = b"/v1/kv/" + b"".join(b"%%%02x" % byte for byte in key)
    with Wire(host.url) as wire:
        data = wire.render("PUT", path, value) + wire.render("GET", path)
        for cut in cuts:
            wire.send(data[:cut])
            data = data[cut:]
        wire.send(data)
        assert wire.read().status in (200, 201)
        assert wire.read().body == value
