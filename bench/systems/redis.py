"""Redis: one primary and two replicas, each with an append-only file that is synced before it answers."""

import contextlib
import socket
from pathlib import Path

from harness.cluster import HOST, PORT_STEP, free_base, wait_for
from harness.load import Endpoint
from systems.base import NODES, Processes, version_of


class Redis:
    """Requests go to the primary only: replicas refuse writes, and may be behind."""

    name = "redis"
    settings = "1 primary, 2 replicas, appendonly, appendfsync always, no RDB snapshots; else defaults"
    writes = "SET and WAIT 1: fsync on the primary, and received by one replica; asynchronous, no consensus"
    reads = "the primary's own, without asking anybody: after a failover acknowledged writes may be missing"

    def __init__(self, data: Path) -> None:
        base = free_base(NODES, offsets=(0,))
        self._data = data
        self._nodes = Processes(self.name, data)
        self._all = [Endpoint(HOST, base + i * PORT_STEP) for i in range(NODES)]
        self.endpoints = self._all[:1]
        self.version = version_of("redis-server", "--version").partition(" sha=")[0]

    def start(self) -> None:
        primary = self.endpoints[0]
        for i, endpoint in enumerate(self._all):
            directory = self._data / str(i)
            directory.mkdir(parents=True)
            options = {
                "port": str(endpoint.port),
                "bind": endpoint.host,
                "dir": str(directory),
                "appendonly": "yes",
                "appendfsync": "always",
                "save": "",
                "repl-diskless-sync-delay": "0",
            }
            command = [
                "redis-server",
                *(part for name, value in options.items() for part in (f"--{name}", value)),
            ]
            if i:
                command += ["--replicaof", primary.host, str(primary.port)]
            self._nodes.begin(command)
        wait_for(self._replicates, "Redis to replicate")

    def _replicates(self) -> bool:
        self._nodes.check()
        return _information(self.endpoints[0]).count(b"state=online") == NODES - 1

    def pids(self) -> list[int]:
        return self._nodes.pids()

    def end(self) -> None:
        self._nodes.end()


def _information(endpoint: Endpoint) -> bytes:
    """What a node says of its replication; nothing while it does not listen."""
    with contextlib.suppress(OSError), socket.create_connection(endpoint, timeout=2) as connection:
        connection.sendall(b"INFO replication\r\n")
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))
    return b""
