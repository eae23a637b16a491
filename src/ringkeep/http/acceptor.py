"""Accepts clients' connections, many in one turn of the loop.

uvloop's own servers accept one connection in each turn (libuv does so to share a port among processes). While
a turn takes 5 ms, the last of 300 new clients then waits for 1.5 s. Here a turn accepts until nobody waits.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

ACCEPTED_PER_TURN: Final = 64
"""Of one address. Each costs about 40 µs: more would hold up the clients that are connected."""

FULL_PAUSE_S: Final = 0.5
"""Without a free descriptor nobody can be accepted, and the socket stays readable: look again later."""

_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logging.getLogger("ringkeep.http")


class Acceptor:
    """Listening sockets, and what becomes of who comes. All calls are on the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], asyncio.Protocol]) -> None:
        """`make` returns the protocol of a new connection."""
        self._loop = loop
        self._make = make
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds them weakly
        self._closed = False

    def listen(self, addresses: list[str], port: int, backlog: int) -> int:
        """Listen on each of the addresses; return the port of the first (the system's choice for 0).

        Raises OSError; nothing is left open then.
        """
        try:
            for address in addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
                self._sockets.append(listening)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.setblocking(False)
                listening.bind((address, port))
                listening.listen(backlog)
        except OSError:
            self.close()
            raise
        for listening in self._sockets:
            self._watch(listening)
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Accept nobody any more. Who was not accepted is refused. Calling it again does nothing."""
        self._closed = True
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            self._loop.remove_reader(listening)
            listening.close()

    def _watch(self, listening: socket.socket) -> None:
        if not self._closed:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Accept until nobody waits."""
        for _ in range(ACCEPTED_PER_TURN):
            try:
                accepted, _address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue  # this client is gone already
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                log.error("no client can be accepted: %s", error.strerror)
                self._loop.remove_reader(listening)
                self._loop.call_later(FULL_PAUSE_S, self._watch, listening)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._serve(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        """Hand the connection over to its protocol; the transport closes it."""
        try:
            await self._loop.connect_accepted_socket(self._make, accepted)
        except OSError:  # the client is gone already
            accepted.close()
