"""Ringkeep, as `ringkeep up` starts it."""

from pathlib import Path
from typing import Final

import ringkeep
from harness.cluster import Cluster
from harness.load import Endpoint, Job, get_job, put_job
from ringkeep.core.replication import primary
from systems.base import NODES, key_of, value_of

CORE: Final = "core in plain Python" if str(primary.__file__).endswith(".py") else "core compiled (mypyc)"


class Ringkeep:
    """`ringkeep up --nodes 3`, or of another number, and with further options."""

    name = "ringkeep"
    settings = f"3 nodes, 3 replicas, quorum fsync, linearizable reads; {CORE}"
    writes = "fsync on a majority of the key's replicas"
    reads = "linearizable: the key's primary, confirmed by a majority"

    def __init__(
        self, data: Path, checkout: Path | None = None, nodes: int = NODES, options: tuple[str, ...] = ()
    ) -> None:
        self._data = data
        self._cluster = Cluster(data, nodes, checkout=checkout, options=options)
        self.endpoints = self._cluster.endpoints
        self.version = f"Ringkeep {ringkeep.__version__}"

    def start(self) -> None:
        self._cluster.start()

    def pids(self) -> list[int]:
        zookeeper = int((self._data / "zookeeper" / "pid").read_text())
        return [*self._cluster.pids().values(), zookeeper]

    def put_job(self, i: int, generation: int) -> Job:
        return put_job(key_of(i), value_of(i, generation), f"{i}-{generation}")

    def get_job(self, i: int, generation: int, via: int) -> Job:
        return get_job(key_of(i), value_of(i, generation), via)

    def get_request(self, i: int, endpoint: Endpoint) -> bytes:
        host = f"{endpoint.host}:{endpoint.port}".encode()
        return b"GET /v1/kv/%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (key_of(i), host)

    def end(self) -> None:
        self._cluster.end()
