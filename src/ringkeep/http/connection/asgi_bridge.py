"""From the fast connection to the admin app: one uvicorn protocol per rare request, on the same socket.

The request is replayed into a fresh uvicorn protocol whose transport is a stand-in: what it writes goes
straight to the client, and its end is reported to the pipeline. So data and admin requests mix freely on one
connection, and bounds, deadlines and the guard against foreign pages stay in one place.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ringkeep.http.connection.exchange import Exchange
from ringkeep.http.connection.listener_state import ListenerState
from ringkeep.http.connection.request_queue import Pipeline

# Framing and the life of the connection are not uvicorn's matter here: it gets a plain length.
_FRAMING = frozenset(
    {b"connection", b"keep-alive", b"upgrade", b"expect", b"content-length", b"transfer-encoding", b"te"}
)


class StandIn(asyncio.Transport):
    """The transport that uvicorn's protocol sees."""

    def __init__(self, bridge: "Bridge") -> None:
        super().__init__()
        self._bridge = bridge
        self._transport = bridge.pipeline.transport
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send to the client, unless it is gone."""
        if not self._closed and not self._transport.is_closing():
            self._bridge.saw(bytes(data[:12]))
            self._transport.write(data)

    def close(self) -> None:
        """End the answer; the connection is closed after it."""
        self._closed = True
        self._bridge.end(keep_alive=False)

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


class Bridge:
    """One request on its way through the admin app."""

    def __init__(self, pipeline: Pipeline, exchange: Exchange, protocol: _Uvicorn) -> None:
        self.pipeline = pipeline
        self.protocol = protocol
        self._exchange = exchange
        self._status = 500
        self._started = False
        self._ended = False

    def start(self) -> None:
        """Replay the request. The app runs as a task; its answer comes through the stand-in."""
        protocol = self.protocol
        protocol.ended = lambda: self.end(keep_alive=not self._exchange.close)
        protocol.connection_made(StandIn(self))
        protocol.data_received(self._request())

    def saw(self, beginning: bytes) -> None:
        """Note the status when the answer begins."""
        if not self._started:
            self._started = True
            self._status = int(beginning[9:12])

    def end(self, keep_alive: bool) -> None:
        """The answer is complete, or was broken off (then the connection cannot be kept)."""
        if self._ended:
            return
        self._ended = True
        self.pipeline.bridge_done(self._exchange, self._status, keep_alive)

    def lost(self, exc: Exception | None) -> None:
        """The client is gone: tell the app, which may be streaming."""
        self.protocol.connection_lost(exc or ConnectionResetError())
        self.end(keep_alive=False)

    def _request(self) -> bytes:
        exchange = self._exchange
        replay = exchange.replay
        assert replay is not None
        keep = b"close" if exchange.close or self.pipeline.hub.stopping else b"keep-alive"
        lines = [exchange.method + b" " + replay.target + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in replay.headers if name.lower() not in _FRAMING]
        lines += [b"Connection: " + keep, b"Content-Length: %d" % len(replay.body), b"", replay.body]
        return b"\r\n".join(lines)


class Bridges:
    """Makes bridges to one ASGI app."""

    def __init__(self, hub: ListenerState, app: Callable[..., Any]) -> None:
        self._hub = hub
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
        self.state = ServerState()

    def open(self, pipeline: Pipeline, exchange: Exchange) -> Bridge:
        """Return a bridge for one request, not started yet."""
        headers = [line.split(b": ", 1) for line in self._hub.common.split(b"\r\n") if line]
        self.state.default_headers = [(name.lower(), value) for name, value in headers]
        protocol = _Uvicorn(self._config, self.state, {}, self._hub.loop)
        return Bridge(pipeline, exchange, protocol)

    def close(self) -> None:
        """Cancel what still streams."""
        for task in list(self.state.tasks):
            task.cancel()
