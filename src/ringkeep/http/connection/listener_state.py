"""What all connections of one listener share: the service, the counters, the coarse clock, the flush.

One `ListenerState` belongs to one `HttpServer`. Connections read `now` instead of asking a clock, and are
flushed together: everything bound for one client within one turn of the loop leaves in one write.
"""

import asyncio
import time
from email.utils import formatdate
from typing import Final, Protocol

from ringkeep.allowance import TurnAllowance
from ringkeep.core.protocol.limits import KIB, VALUE_BYTES
from ringkeep.http.connection.allowed_hosts import Hosts
from ringkeep.http.limits import LARGE_BODIES_BYTES, SWEEP_S, SWEPT_PER_TICK, Patience
from ringkeep.http.routes import ROUTES, RouteCounts
from ringkeep.http.service import Service

_PRIMARIES: Final = 4 * KIB  # names remembered in their header's form

NEVER: Final = float("inf")
"""Of a time on the listener's clock: nothing is due."""


class OpenConnection(Protocol):
    """What the listener, and the server that closes it, ask of a connection."""

    due: float
    """When `overdue` is to be called, on the listener's clock."""
    draining: bool
    """The last answer was written; what still comes is dropped."""

    def overdue(self) -> None:
        """Do what is to be done when `due` has passed."""
        ...

    def flush(self) -> None:
        """Write the answers that are ready."""
        ...

    def idle(self) -> bool:
        """Whether nobody would miss an answer if the connection were closed, and nobody closes it yet."""
        ...

    def stop(self) -> None:
        """The server stops: close at once if idle, else with the last answer."""
        ...

    def abort(self) -> None:
        """Break the connection off."""
        ...


class ListenerState:
    """Shared state of a listener's connections."""

    hosts: Hosts
    """Set before the first connection comes; they need the port."""

    def __init__(
        self,
        service: Service,
        loop: asyncio.AbstractEventLoop,
        patience: Patience,
        value_bytes: int = VALUE_BYTES,
    ) -> None:
        self.service = service
        self.loop = loop
        self.patience = patience
        self.value_bytes = value_bytes
        self.connections: dict[OpenConnection, None] = {}
        self.counts = tuple(RouteCounts(method, path) for method, path in ROUTES)
        self.allowance = TurnAllowance(loop)
        self.in_flight = 0
        self.large_body_bytes = 0
        self.max_connections = 0
        self.stopping = False
        self.now = time.monotonic()
        self.common = b""
        self._second = -1
        self._ticks = 0
        self._unflushed: dict[OpenConnection, None] = {}
        self._primaries: dict[str, bytes] = {"": b""}
        self._node = b"Ringkeep-Node: " + _field(service.name) + b"\r\n"
        self._timer: asyncio.TimerHandle | None = None
        self._tick()

    def _tick(self) -> None:
        """Move the coarse clock, refresh the date, and look for connections whose time is up."""
        self.now = now = time.monotonic()
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.common = b"Date: " + formatdate(second, usegmt=True).encode() + b"\r\n" + self._node
        self._ticks += 1
        if self._ticks * SWEPT_PER_TICK >= len(self.connections):
            self._ticks = 0
            for connection in [each for each in self.connections if each.due < now]:
                connection.overdue()
        self._timer = self.loop.call_later(SWEEP_S, self._tick)

    def close(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()

    def primary(self, name: str) -> bytes:
        """Return the header line that names the primary; none when it is not known."""
        line = self._primaries.get(name)
        if line is None:
            if len(self._primaries) > _PRIMARIES:
                self._primaries = {"": b""}
            line = self._primaries[name] = b"Ringkeep-Primary: " + _field(name) + b"\r\n"
        return line

    def flush_later(self, connection: OpenConnection) -> None:
        """Have the connection flushed once, at the end of this turn of the loop."""
        if not self._unflushed:
            self.loop.call_soon(self._flush)
        self._unflushed[connection] = None

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, {}
        for connection in unflushed:
            connection.flush()

    def make_room(self) -> bool:
        """Close the oldest idle connection if there are more than may be; False when none is idle."""
        if len(self.connections) <= self.max_connections:
            return True
        newest = next(reversed(self.connections))
        for connection in self.connections:
            if connection is not newest and connection.idle():
                connection.abort()
                return True
        return False

    def reserve(self, count: int) -> bool:
        """Take `count` bytes of the budget for large bodies; False when they are not there."""
        if self.large_body_bytes + count > LARGE_BODIES_BYTES:
            return False
        self.large_body_bytes += count
        return True

    def release(self, count: int) -> None:
        """Give reserved bytes back."""
        self.large_body_bytes -= count
        assert self.large_body_bytes >= 0, "nothing is given back twice"


def _field(name: str) -> bytes:
    """A node's name as a field value: no byte of it can end the line."""
    return "".join(c if c.isprintable() else "?" for c in name).encode("latin-1", "replace")
