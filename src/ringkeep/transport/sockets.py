"""Shared by both directions: socket options, the incarnations seen, and a rate-limited log."""

import asyncio
import logging
import socket
from typing import Final

from ringkeep.core.protocol.types import Incarnation, NodeId

CONNECT_S: Final = 0.4  # if it takes longer, the next attempt may be answered at once
HANDSHAKE_S: Final = 1.0  # from connected to answered, at the caller
OPENING_S: Final = 2.0  # from accepted to a whole Hello, at the listener
USER_TIMEOUT_MS: Final = 3_000  # sent and not acknowledged, or not read, for so long: the connection is dead
LOG_EVERY_S: Final = 1.0
NODES_MET: Final = 65_536  # node ids whose incarnation is remembered; the oldest is forgotten

assert HANDSHAKE_S < OPENING_S, "a caller gives up first, so that no answer comes too late"

_KEEPALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))


def tune(transport: asyncio.BaseTransport) -> None:
    """Set the options: send at once, and detect a peer that vanished silently, as far as the system can."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, number in (*_KEEPALIVE, ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), number)
    except OSError:
        return  # the connection is lost already: connection_lost follows


class Incarnations:
    """The highest incarnation of each node, seen on connections of either direction."""

    def __init__(self) -> None:
        self._highest: dict[NodeId, Incarnation] = {}

    def highest(self, node: NodeId) -> Incarnation:
        """Return the highest incarnation met, 0 for none."""
        return self._highest.get(node, Incarnation(0))

    def meet(self, node: NodeId, incarnation: Incarnation) -> None:
        """Remember it. The caller has checked that it is not lower than the highest."""
        assert incarnation >= self.highest(node), "an older life is refused before it is met"
        self._highest.pop(node, None)
        self._highest[node] = incarnation
        if len(self._highest) > NODES_MET:
            del self._highest[next(iter(self._highest))]


class Complaints:
    """A log for what unidentified connections cause: at most one line a second, with the number of lines left
    out."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: logging.Logger) -> None:
        self._loop = loop
        self._log = log
        self._next = 0.0
        self._left_out = 0

    def say(self, text: str) -> None:
        """Write the line, or count it."""
        now = self._loop.time()
        if now < self._next:
            self._left_out += 1
            return
        more = f" ({self._left_out} more since the last such line)" if self._left_out else ""
        self._log.warning("%s%s", text, more)
        self._next, self._left_out = now + LOG_EVERY_S, 0
