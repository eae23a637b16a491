"""A real ZooKeeper for tests, ports for it, and a proxy that does to a connection what a network may do."""

import asyncio
import contextlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from tests.support.wait import PATIENCE_S

from ringkeep.coordination.server import ZooKeeperServer
from ringkeep.errors import StartError


def free_port() -> int:
    """Return a loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_zookeeper(directory: Path) -> ZooKeeperServer:
    """Start a server, or skip the test if there is none here; in CI that is a failure."""
    server = ZooKeeperServer(directory, free_port())
    try:
        server.start(timeout_s=60)
    except StartError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    return server


def copy_of(server: ZooKeeperServer) -> Path:
    """Copy the data of a server that does not run, and return where the copy is."""
    assert server.pid is None, "a copy of what changes is no copy"
    copy = server.data_dir / f"copy-{uuid.uuid4().hex}"
    shutil.copytree(server.data_dir / "data", copy)
    return copy


def replace_data(server: ZooKeeperServer, copy: Path | None) -> None:
    """Wipe a server that does not run, or give it what is in the copy."""
    assert server.pid is None, "it would write on"
    data = server.data_dir / "data"
    if data.exists():
        shutil.rmtree(data)
    data.mkdir()  # what number a server of several has is written when it starts
    if copy is not None:
        shutil.copytree(copy, data, dirs_exist_ok=True)


@contextlib.contextmanager
def operating(server: ZooKeeperServer) -> Iterator[Any]:
    """A client for what only an operator does to ZooKeeper."""
    client = KazooClient(server.hosts)
    client.start(PATIENCE_S)
    try:
        yield client
    finally:
        client.stop()
        client.close()


class Proxy:
    """A TCP proxy on the loop of the test. It moves bytes only while that loop runs."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = free_port()
        self.swallows = False  # drop what the server answers
        self.swallows_after = b""  # begin to, once a client has sent this
        self.holds = False  # keep what the client sends, until `let_through`
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]] = []
        self._ended: set[asyncio.StreamWriter] = set()  # connections that the server ended after a cut
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Accept connections."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self.host, self.port)

    async def cut(self) -> None:
        """Close every connection and accept no other. What is held stays on its way to the server."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        on_their_way = {writer: answers for answers, writer, _ in self._held}
        for writer in self._writers:
            if writer not in on_their_way:
                writer.transport.abort()
        self._writers = list(on_their_way)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer, answers in on_their_way.items():
            self._keep(asyncio.create_task(self._note_end(answers, writer)))

    def held(self, data: bytes) -> bool:
        """Whether the client has sent this, and it is held."""
        return data in b"".join(sent for _, _, sent in self._held)

    def refused(self) -> bool:
        """Whether the server has ended every connection on which something is held."""
        return all(writer in self._ended for _, writer, _ in self._held)

    def let_through(self) -> None:
        """Let the server have what was held."""
        for _, writer, sent in self._held:
            if not writer.is_closing():
                writer.write(sent)
        self._held.clear()

    def drop_held(self) -> None:
        """Lose what was held."""
        self._held.clear()

    def say(self, data: bytes) -> None:
        """Send the clients bytes that no server sent."""
        for writer in self._writers[::2]:
            writer.write(data)

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _note_end(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await answers.read(65_536):
                pass
        self._ended.add(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._keep(task)
        with contextlib.suppress(
            asyncio.CancelledError
        ):  # cut; asyncio would complain of a cancelled handler
            await self._join(reader, writer)
        writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            return
        self._writers += [writer, back]
        await asyncio.gather(self._move_requests(reader, back, there), self._move_answers(there, writer))

    async def _move_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: asyncio.StreamReader
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if self.swallows_after and self.swallows_after in data:
                    self.swallows = True
                if self.holds:
                    self._held.append((answers, writer, data))
                else:
                    writer.write(data)
        writer.transport.abort()

    async def _move_answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if not self.swallows:
                    writer.write(data)
        writer.transport.abort()
