"""Both transports against a server of a few lines: what may have been sent is never said not to be."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable

import pytest

from ringkeep.client.asynchronous.transport import AiohttpTransport
from ringkeep.client.blocking.transport import Urllib3Transport
from ringkeep.client.calls.exchange import Failure, Request, Response, Send

Sends = Callable[[list[Send]], list[Response | Failure]]


def blocking(actions: list[Send]) -> list[Response | Failure]:
    transport = Urllib3Transport(4)
    try:
        return [transport.send(action) for action in actions]
    finally:
        transport.close()


def asynchronous(actions: list[Send]) -> list[Response | Failure]:
    async def run() -> list[Response | Failure]:
        transport = AiohttpTransport(4)
        try:
            return [await transport.send(action) for action in actions]
        finally:
            await transport.close()

    return asyncio.run(run())


BOTH = pytest.mark.parametrize("sends", [blocking, asynchronous])


class Dying(threading.Thread):
    """Answers one request; reads the next one on the same connection, and is gone. `heard`: what it read."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.heard: list[bytes] = []

    def run(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self.heard.append(connection.recv(4_096))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            self.heard.append(connection.recv(4_096))
            self._listener.close()


class Stranger(threading.Thread):
    """Answers one request with what is no HTTP."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        connection, _ = self._listener.accept()
        with connection, self._listener:
            connection.recv(4_096)
            connection.sendall(b"220 mail.example.org\r\n\r\n")


def send(endpoint: str, method: str) -> Send:
    key = "once" if method == "PUT" else ""
    return Send(endpoint, Request(method, "/v1/kv/k", idempotency_key=key), time.monotonic() + 5, 1.0)


@BOTH
def test_a_write_that_was_read_by_a_node_that_died_may_have_been_applied(sends: Sends) -> None:
    server = Dying()
    server.start()
    first, second = sends([send(server.endpoint, "GET"), send(server.endpoint, "PUT")])
    server.join(5)
    assert isinstance(first, Response) and server.heard[1].startswith(b"PUT ")
    assert isinstance(second, Failure) and second.sent


@BOTH
def test_what_nobody_listens_to_was_not_sent(sends: Sends) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    (failure,) = sends([send(endpoint, "PUT")])
    assert isinstance(failure, Failure) and not failure.sent


@BOTH
def test_a_silent_node_is_left_in_time(sends: Sends) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        action = send(f"http://127.0.0.1:{listener.getsockname()[1]}", "PUT")
        action.until = time.monotonic() + 0.1
        (failure,) = sends([action])
    assert isinstance(failure, Failure) and failure.sent


@BOTH
def test_a_failure_tells_no_key(sends: Sends) -> None:
    """It is logged, and told to observers."""
    stranger = Stranger()
    stranger.start()
    request = Request("PUT", "/v1/kv/SECRET", body=b"SECRET", idempotency_key="SECRET")
    [failure] = sends([Send(stranger.endpoint, request, time.monotonic() + 5, 1.0)])
    stranger.join()
    assert isinstance(failure, Failure) and failure.sent
    assert stranger.endpoint in failure.reason and "SECRET" not in failure.reason
