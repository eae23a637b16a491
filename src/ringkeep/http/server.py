"""Opens the HTTP listener, and closes it gracefully."""

import asyncio
import errno
import time
from collections.abc import Collection, Iterable
from typing import Final

from ringkeep.core.protocol.limits import VALUE_BYTES
from ringkeep.errors import StartError
from ringkeep.http.acceptor import Acceptor
from ringkeep.http.admin.app import make_app
from ringkeep.http.admin.change_routes import ChangeStreams
from ringkeep.http.connection.allowed_hosts import Hosts
from ringkeep.http.connection.asgi_bridge import AsgiBridge
from ringkeep.http.connection.connection import Connection
from ringkeep.http.connection.listener_state import ListenerState
from ringkeep.http.limits import BACKLOG, CLIENTS, Patience
from ringkeep.http.service import Service
from ringkeep.process import addresses_here

_POLL_S: Final = 0.02


class HttpServer:
    """A listener and its connections. `port` is the real one, also when 0 was asked for."""

    def __init__(
        self, listener: ListenerState, bridge: AsgiBridge, acceptor: Acceptor, streams: ChangeStreams,
        port: int,
    ) -> None:  # fmt: skip
        self.listener = listener
        self.port = port
        self._bridge = bridge
        self._streams = streams
        self._acceptor = acceptor

    async def close(self, grace_s: float) -> None:
        """Take no new connection, close idle ones, let what is in flight finish for up to `grace_s`.

        Returns when no connection is left; those that are not done by then are aborted.
        """
        listener = self.listener
        listener.stopping = True
        self._acceptor.close()
        self._streams.end()
        for connection in list(listener.connections):
            connection.stop()
        deadline = time.monotonic() + grace_s
        while any(not each.draining for each in listener.connections) and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
        self._bridge.close()
        for connection in list(listener.connections):
            connection.abort()
        await asyncio.sleep(0)
        listener.close()


async def serve_http(
    service: Service,
    host: str,
    port: int,
    loop: asyncio.AbstractEventLoop,
    *,
    advertise: Iterable[str] = (),
    allowed_hosts: Collection[str] = (),
    patience: Patience | None = None,
    value_bytes: int = VALUE_BYTES,
    clients: int = CLIENTS,
    burst: int = BACKLOG,
) -> HttpServer:
    """Listen on `host`:`port` and serve `service` there.

    `advertise` are further "HOST:PORT" under which clients address this node, `allowed_hosts` what else
    browsers may put in Host (see `Hosts`).
    `value_bytes`: the longest value that is taken.
    `clients`: how many may be connected; `burst`: how many more may come at once, before they are refused.
    Raises StartError when the address cannot be had.
    """
    listener = ListenerState(service, loop, patience or Patience(), value_bytes)
    streams = ChangeStreams(service)
    bridge = AsgiBridge(listener, make_app(service, listener, streams))
    acceptor = Acceptor(loop, lambda: Connection(listener, bridge))
    try:
        port = acceptor.listen(addresses_here(host), port, burst)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"The HTTP port {host}:{port} is in use: stop what listens there, or choose another (--http)."
            ) from error
        raise StartError(
            f"Cannot listen for HTTP on {host}:{port}: {error.strerror or error}; "
            "choose another address (--http)."
        ) from error
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    listener.hosts = Hosts((f"{shown}:{port}", *advertise), port, allowed_hosts)
    listener.max_connections = clients
    return HttpServer(listener, bridge, acceptor, streams, port)
