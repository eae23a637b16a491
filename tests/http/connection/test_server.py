"""The listener's life: start, stop, too many clients, and a metric count that comes back to zero."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from tests.support.http.fake_service import FakeService
from tests.support.http.host import Host
from tests.support.http.wire import Wire
from tests.support.wait import until

from ringkeep import parsing
from ringkeep.errors import StartError
from ringkeep.http.connection.allowed_hosts import Hosts
from ringkeep.http.problems import Problem
from ringkeep.http.server import serve_http


def test_a_port_in_use_is_a_clear_error(host: Host) -> None:
    async def start(address: str, port: int) -> None:
        await serve_http(FakeService(), address, port, asyncio.get_running_loop())

    with pytest.raises(StartError, match=f"{host.server.port} is in use"):
        asyncio.run(start("127.0.0.1", host.server.port))
    with pytest.raises(StartError, match="Cannot listen"):
        asyncio.run(start("192.0.2.1", 0))


def test_it_runs_on_the_plain_loop_too() -> None:
    async def run() -> bytes:
        server = await serve_http(FakeService(), "127.0.0.1", 0, asyncio.get_running_loop())
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        host = b"Host: localhost:%d\r\n" % server.port
        writer.write(b"PUT /v1/kv/a HTTP/1.1\r\n" + host + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000)
        writer.write(b"GET /v1/kv/a HTTP/1.1\r\n" + host + b"\r\nGET /livez HTTP/1.1\r\n" + host)
        writer.write(b"Connection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(-1), 5)
        writer.close()
        await server.close(1.0)
        return answer

    answer = asyncio.run(run())
    assert answer.count(b"HTTP/1.1 20") == 3
    assert b"x" * 100_000 in answer and answer.endswith(b"ok\n")


def test_closing_lets_what_is_in_flight_finish(make_host: Callable[..., Host]) -> None:
    host = make_host()
    host.service.delay_s = 0.2
    with Wire(host.url) as busy, Wire(host.url) as idle, Wire(host.url) as kept:
        assert kept.request("GET", "/livez").status == 200
        busy.send(busy.render("PUT", "/v1/kv/a", b"v"))
        until(lambda: bool(host.service.submitted), "the request arrives")
        closing = threading.Thread(target=lambda: host.wait(host.server.close(5.0)))
        closing.start()
        assert idle.closed() and kept.closed()
        answer = busy.read()
        assert (answer.status, answer.headers["connection"]) == (201, "close")
        assert busy.closed()
        busy.socket.close()
        closing.join(3)
        assert not closing.is_alive()
    with pytest.raises(ConnectionRefusedError):
        Wire(host.url)


def test_closing_breaks_off_what_does_not_finish(make_host: Callable[..., Host]) -> None:
    host = make_host()
    host.service.delay_s = 30.0
    with Wire(host.url) as wire:
        wire.send(wire.render("GET", "/v1/kv/a"))
        until(lambda: bool(host.service.submitted), "the request arrives")
        host.wait(host.server.close(0.1))
        assert wire.closed()


def test_idle_connections_make_room_for_new_ones(make_host: Callable[..., Host]) -> None:
    host = make_host()
    host.server.listener.max_connections = 10
    idle = [Wire(host.url) for _ in range(10)]
    for _ in range(3):
        with Wire(host.url) as wire:
            assert wire.request("GET", "/livez").status == 200
    assert idle[0].closed()
    for wire in idle:
        wire.socket.close()


def test_a_full_house_is_told_so(make_host: Callable[..., Host]) -> None:
    host = make_host()
    host.server.listener.max_connections = 3
    host.service.delay_s = 0.3
    wires = [Wire(host.url) for _ in range(3)]
    for wire in wires:
        wire.send(wire.render("GET", "/v1/kv/a"))
    until(lambda: len(host.service.submitted) == 3, "the requests arrive")
    with Wire(host.url) as late:
        answer = late.read()
        assert answer.status == 429 and answer.headers["retry-after"]
        assert late.closed()
    for wire in wires:
        assert wire.read().status == 404
        wire.socket.close()


BROWSER = {"accept-language": "en", "accept-encoding": "gzip, deflate"}
PAGE = BROWSER | {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
NODE = {"accept-language": "*", "sec-fetch-mode": "cors", "accept-encoding": "gzip, deflate"}
TUNNEL = "https://tunnel.example"


@pytest.mark.parametrize(
    ("host", "headers", "allowed", "permitted"),
    [
        ("store.example:8000", BROWSER, "", True),  # advertised
        ("STORE.example", BROWSER, "", True),  # forwarded from another port
        ("store.example.", BROWSER, "", True),
        ("tunnel.example", {}, "", True),  # a program: curl, Java, Go
        ("tunnel.example", NODE, "", True),
        ("tunnel.example", BROWSER, "", False),
        ("tunnel.example", BROWSER, "tunnel.example", True),
        ("tunnel.example:9000", BROWSER, "tunnel.example", True),
        ("tunnel.example", BROWSER, "tunnel.example:9000", False),
        ("a.tunnel.example", BROWSER, "tunnel.example", False),
        ("a.tunnel.example", BROWSER, ".tunnel.example", True),
        ("eviltunnel.example", BROWSER, ".tunnel.example", False),
        ("anything", BROWSER, "*", True),
        ("localhost:9000", PAGE | {"origin": "http://localhost:9000"}, "", True),
        ("localhost:8000", PAGE | {"origin": "http://localhost:9000"}, "", False),
        ("tunnel.example", PAGE | {"origin": TUNNEL}, "", False),  # DNS rebinding
        ("tunnel.example", PAGE | {"origin": TUNNEL}, "tunnel.example", True),
        ("upstream", {"origin": TUNNEL}, "upstream,tunnel.example", True),
        ("tunnel.example:443", PAGE | {"origin": TUNNEL}, "*", True),
        ("tunnel.example", PAGE | {"origin": "https://evil.example"}, "*", False),
        ("tunnel.example", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, "", False),
        ("tunnel.example", {"sec-fetch-mode": "navigate"}, "", False),
    ],
)
def test_who_may_address_the_node_how(
    host: str, headers: dict[str, str], allowed: str, permitted: bool
) -> None:
    names = parsing.allowed_hosts(allowed) if allowed else ()
    hosts = Hosts(("127.0.0.1:8000", "Store.Example:8000"), 8000, names)
    fields = {name.encode(): value.encode() for name, value in headers.items()}

    def is_permitted(path: bytes) -> bool:
        try:
            hosts.check(path, host.encode(), fields)
        except Problem:
            return False
        return True

    assert is_permitted(b"/get") == permitted
    for path in (b"/livez", b"/readyz", b"/metrics"):
        assert is_permitted(path) == (permitted or "origin" not in headers), "health is told to everybody"


def test_the_listener_keeps_to_its_hosts() -> None:
    async def run() -> list[bytes]:
        server = await serve_http(
            FakeService(),
            "127.0.0.1",
            0,
            asyncio.get_running_loop(),
            advertise=["Store.Example:8000"],
            allowed_hosts=(".tunnel.example",),
        )
        lines = []
        for name in (b"store.example:8000", b"a.tunnel.example", b"tunnel.example"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /version HTTP/1.1\r\nAccept-Language: en\r\nHost: " + name + b"\r\n\r\n")
            lines.append((await reader.readline())[9:12])
            writer.close()
        await server.close(0.0)
        return lines

    assert asyncio.run(run()) == [b"200", b"200", b"403"]
