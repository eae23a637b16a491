"""What all connections of one listener share: the service, the counters, the coarse clock, the flush.

One `Hub` belongs to one `HttpServer`. Connections read `now` instead of asking a clock, and hand over what is
to be written: everything bound for one client within one turn of the loop leaves in one write.
"""

import asyncio
import logging
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from ringkeep.allowance import TurnAllowance
from ringkeep.core.protocol.limits import KIB
from ringkeep.http.admin.metrics import RouteCounts
from ringkeep.http.connection.allowed_hosts import Hosts
from ringkeep.http.limits import LARGE_BODIES_BYTES, SWEEP_S, SWEPT_PER_TICK, Patience
from ringkeep.http.service import Service

if TYPE_CHECKING:
    from ringkeep.http.connection.asgi_bridge import Bridges
    from ringkeep.http.connection.connection import Connection
    from ringkeep.http.connection.request_queue import Pipeline

log = logging.getLogger("ringkeep.http")

_PRIMARIES: Final = 4 * KIB  # names remembered in their header's form

ROUTES: Final = (
    ("POST", "/put"),
    ("GET", "/get"),
    ("DELETE", "/delete"),
    ("PUT", "/v1/kv/{key}"),
    ("GET", "/v1/kv/{key}"),
    ("DELETE", "/v1/kv/{key}"),
    ("*", "other"),
)
PUT3, GET3, DELETE3, KV_PUT, KV_GET, KV_DELETE, OTHER = range(len(ROUTES))
"""The routes by number. The first three are the original ones; OTHER is the admin app and what is unknown."""


class ListenerState:
    """Shared state of a listener's connections."""

    hosts: Hosts
    bridges: "Bridges"
    """Set before the first connection comes; both need the port."""

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop, patience: Patience) -> None:
        self.service = service
        self.loop = loop
        self.patience = patience
        self.connections: dict[Connection, None] = {}
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
        self._dirty: list[Pipeline] = []
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

    def flush_later(self, connection: "Pipeline") -> None:
        """Have the connection flushed at the end of this turn of the loop."""
        if not self._dirty:
            self.loop.call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()

    def make_room(self) -> bool:
        """Close the oldest idle connection if there are more than may be; False when none is idle."""
        if len(self.connections) <= self.max_connections:
            return True
        newest = next(reversed(self.connections))
        for connection in self.connections:
            if connection is not newest and connection.idle() and not connection.transport.is_closing():
                connection.transport.abort()
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
