"""The links between nodes, each of which a test may cut: nodes advertise a proxy, which asks who calls.

A cut link loses nothing and lets nothing through, as a network that drops packets does: connections stand,
and new ones are never answered. Runs in a thread of its own. Close it last.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from tests.support.cluster.cluster import HOST, Cluster, free_ports

CHUNK = 1 << 16


class Crossings:
    """Proxies in front of every node's peer port; make them before the nodes start."""

    def __init__(self, nodes: Cluster) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._cut: set[frozenset[str]] = set()
        self._servers: dict[str, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._names = [*nodes.names]
        for name, port in zip(self._names, free_ports(len(self._names)), strict=True):
            place = nodes.places[name]
            self._run(self._listen(name, port, place.peer))
            place.options += ("--advertise-peer", f"{HOST}:{port}")

    def cut(self, one: str, other: str) -> None:
        """Let nothing through between these two any more, in either direction."""
        self._cut.add(frozenset((one, other)))

    def dead(self, name: str) -> None:
        """Its process is gone: who connects is refused, as without a proxy."""
        self._run(self._refuse(name))

    def close(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    # --- in the thread --------------------------------------------------------------------------------

    async def _listen(self, name: str, port: int, target: int) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._carry(name, target, reader, writer)
            except (OSError, asyncio.CancelledError):
                pass
            finally:
                writer.transport.abort()
                self._tasks.discard(task)

        self._servers[name] = await asyncio.start_server(serve, HOST, port)

    async def _carry(
        self, name: str, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        hello = await reader.read(CHUNK)
        said = {each: bytes([0xA0 | len(each)]) + each.encode() for each in self._names}  # as msgpack has it
        caller = next((each for each, word in said.items() if each != name and word in hello), "")
        pair = frozenset((caller, name))
        onward, there = await asyncio.open_connection(HOST, target)
        try:
            ways = (self._pump(pair, hello, reader, there), self._pump(pair, b"", onward, writer))
            await asyncio.wait([asyncio.ensure_future(way) for way in ways], return_when="FIRST_COMPLETED")
        finally:
            there.transport.abort()

    async def _pump(
        self, pair: frozenset[str], data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            while pair in self._cut:
                await asyncio.sleep(0.05)
            writer.write(data)
            await writer.drain()
            data = await reader.read(CHUNK)
            if not data:
                return

    async def _refuse(self, name: str) -> None:
        server = self._servers.pop(name, None)
        if server is not None:
            server.close()

    async def _end(self) -> None:
        for name in list(self._servers):
            await self._refuse(name)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
