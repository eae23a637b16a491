"""The ways between the nodes of a test's cluster, and to its ZooKeeper: proxies that can hold everything.

A cut loses nothing and closes nothing, as a network that drops packets: what is sent stays on its way, and
arrives once the cut is healed. Whose connection it is, is read from the first message of its handshake. Runs
in a thread of its own.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from ringkeep.errors import ProtocolError
from ringkeep.testing.process import HOST
from ringkeep.wire.handshake import Hello, OpeningReader

CHUNK: Final = 65_536
CALL_S: Final = 10.0


class Network:
    """Proxies on ports of the loopback interface. Close it last."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._open: dict[str, asyncio.Event] = {}  # by the name of a node, or of its way to ZooKeeper
        self._peers: dict[str, tuple[int, int]] = {}  # by node: our port, and its own
        self._servers: dict[int, asyncio.Server] = {}  # by port
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()

    def carry_peers(self, node: str, port: int, target: int) -> None:
        """Listen on `port` for the other nodes, in place of the node that listens on `target`."""
        self._peers[node] = port, target
        self.accept(node)

    def accept(self, node: str) -> None:
        """Accept connections for this node."""
        port, target = self._peers[node]
        self._call(self._listen(port, partial(self._serve_peer, node, target)))

    def refuse(self, node: str) -> None:
        """Refuse connections to this node, as its machine does while no process listens there."""
        self._call(self._stop_listening(self._peers[node][0]))

    def carry_to_zookeeper(self, node: str, port: int, target: int) -> None:
        """Listen on `port` for this node only, in place of the ZooKeeper that listens on `target`."""
        self._call(self._listen(port, partial(self._serve, (_way_to_zookeeper(node),), target, b"")))

    def cut(self, node: str, zookeeper: bool) -> None:
        """Hold everything to and from this node, and, if wanted, between it and ZooKeeper."""
        self._call(self._set(node, False))
        self._call(self._set(_way_to_zookeeper(node), not zookeeper))

    def heal(self, node: str) -> None:
        """Let everything through again."""
        self._call(self._set(node, True))
        self._call(self._set(_way_to_zookeeper(node), True))

    def close(self) -> None:
        """Close every connection, and end the thread."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_S)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_S)

    # --- in the thread --------------------------------------------------------------------------------

    async def _set(self, way: str, is_open: bool) -> None:
        event = self._gate(way)
        event.set() if is_open else event.clear()

    def _gate(self, way: str) -> asyncio.Event:
        if way not in self._open:
            self._open[way] = asyncio.Event()
            self._open[way].set()
        return self._open[way]

    async def _pass(self, ways: tuple[str, ...]) -> None:
        """Return once all of these ways are open at the same time."""
        while not all(self._gate(way).is_set() for way in ways):
            for way in ways:
                await self._gate(way).wait()

    async def _listen(self, port: int, serve: Any) -> None:
        if port in self._servers:
            return

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await serve(reader, writer)
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        self._servers[port] = await asyncio.start_server(accept, HOST, port)

    async def _stop_listening(self, port: int) -> None:
        server = self._servers.pop(port, None)
        if server is not None:
            server.close()

    async def _serve_peer(
        self, node: str, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        opening, said = OpeningReader(), b""
        hello = None
        while hello is None:
            data = await reader.read(CHUNK)
            if not data:
                return
            said += data
            with contextlib.suppress(ProtocolError):  # the node itself says what is wrong with it
                hello = opening.feed(data)
                continue
            break
        caller = (hello.name,) if isinstance(hello, Hello) else ()
        await self._serve((node, *caller), target, said, reader, writer)

    async def _serve(
        self,
        ways: tuple[str, ...],
        target: int,
        said: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Carry a connection, of which `said` was read already, until one side closes it."""
        await self._pass(ways)
        answers, there = await asyncio.open_connection(HOST, target)
        there.write(said)
        both = [
            asyncio.ensure_future(self._pump(ways, reader, there)),
            asyncio.ensure_future(self._pump(ways, answers, writer)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in both:
                pump.cancel()
            there.transport.abort()

    async def _pump(
        self, ways: tuple[str, ...], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._pass(ways)  # also what was read before the cut, and the end of a connection
                writer.write(data)
                await writer.drain()
            await self._pass(ways)

    async def _end(self) -> None:
        for port in list(self._servers):
            await self._stop_listening(port)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _way_to_zookeeper(node: str) -> str:
    return f"{node} to ZooKeeper"
