"""From a connection to the admin app: one uvicorn protocol per request for it, on the same socket.

The request is replayed into a fresh uvicorn protocol with a transport of its own: what it writes goes
straight to the client, and its end is reported to the connection. So data and admin requests mix freely on
one connection, and bounds, deadlines and the guard against foreign pages stay in one place.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ringkeep.http import problems
from ringkeep.http.connection.exchange import Exchange
from ringkeep.http.connection.listener_state import ListenerState

# Framing and the life of the connection are not uvicorn's matter here: it gets a plain length.
_NOT_REPLAYED: Final = frozenset(
    {b"connection", b"keep-alive", b"upgrade", b"expect", b"content-length", b"transfer-encoding", b"te"}
)


Ended = Callable[[Exchange, int, bool], None]
"""Called once when the app has answered: the exchange, the status, and whether the connection can be kept."""


class AppTransport(asyncio.Transport):
    """The transport that uvicorn's protocol sees: the client's, until the answer ends."""

    def __init__(
        self, transport: asyncio.Transport, saw: Callable[[bytes], None], closed: Callable[[], None]
    ) -> None:
        """`saw` is called with the beginning of whatever is written, `closed` when the app hangs up."""
        super().__init__()
        self._transport = transport
        self._saw = saw
        self._on_close = closed
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send to the client, unless it is gone."""
        if not self._closed and not self._transport.is_closing():
            self._saw(bytes(data[:12]))
            self._transport.write(data)

    def close(self) -> None:
        """End the answer; the connection is closed after it."""
        self._closed = True
        self._on_close()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the client's connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """There is nothing to pause: the request was given whole."""

    def resume_reading(self) -> None:
        """There is nothing to resume."""


class _Uvicorn(HttpToolsProtocol):
    """uvicorn's protocol for one request."""

    ended: Callable[[], None]

    def on_response_complete(self) -> None:
        """Report the end instead of waiting for another request."""
        self.server_state.total_requests += 1
        self.ended()


class AppCall:
    """One request on its way through the admin app."""

    def __init__(
        self,
        exchange: Exchange,
        request: bytes,
        transport: asyncio.Transport,
        protocol: _Uvicorn,
        ended: Ended,
    ) -> None:
        self._exchange = exchange
        self._request = request
        self._transport = transport
        self._protocol = protocol
        self._ended: Ended | None = ended
        self._status = 0

    def start(self) -> None:
        """Replay the request. The app runs as a task; its answer comes through the transport."""
        protocol = self._protocol
        protocol.ended = lambda: self._end(keep_alive=not self._exchange.close)
        protocol.connection_made(
            AppTransport(self._transport, self._saw, lambda: self._end(keep_alive=False))
        )
        protocol.data_received(self._request)

    def pause_writing(self) -> None:
        """The client does not read its answer."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._protocol.resume_writing()

    def lost(self, exc: Exception | None) -> None:
        """The client is gone: tell the app, which may be streaming."""
        self._protocol.connection_lost(exc or ConnectionResetError())
        self._end(keep_alive=False)

    def _saw(self, beginning: bytes) -> None:
        """Note the status when the answer begins."""
        if not self._status:
            self._status = int(beginning[9:12])

    def _end(self, keep_alive: bool) -> None:
        """The answer is complete, or was broken off (then the connection cannot be kept)."""
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self._exchange, self._status or problems.DEFECT.status, keep_alive)


class AsgiBridge:
    """Has an ASGI app answer requests of connections."""

    def __init__(self, listener: ListenerState, app: Callable[..., Any]) -> None:
        self._listener = listener
        self._config = Config(
            app,
            http=_Uvicorn,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self._config.load()
        self._state = ServerState()

    def call(self, exchange: Exchange, transport: asyncio.Transport, ended: Ended) -> AppCall:
        """Return the call for one request, not started yet."""
        listener = self._listener
        headers = [line.split(b": ", 1) for line in listener.common.split(b"\r\n") if line]
        self._state.default_headers = [(name.lower(), value) for name, value in headers]
        protocol = _Uvicorn(self._config, self._state, {}, listener.loop)
        request = _replay(exchange, keep=not exchange.close and not listener.stopping)
        return AppCall(exchange, request, transport, protocol, ended)

    def close(self) -> None:
        """Cancel what still streams."""
        for task in list(self._state.tasks):
            task.cancel()


def _replay(exchange: Exchange, keep: bool) -> bytes:
    """Return the request as uvicorn shall see it; `keep`: whether the connection outlives the answer."""
    request = exchange.app_request
    assert request is not None, "the request is for the app"
    lines = [exchange.method + b" " + request.target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in request.headers if name.lower() not in _NOT_REPLAYED]
    lines += [
        b"Connection: " + (b"keep-alive" if keep else b"close"),
        b"Content-Length: %d" % len(request.body),
        b"",
        request.body,
    ]
    return b"\r\n".join(lines)
