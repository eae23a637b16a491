"""ZooKeeper: an ensemble of three, with the program that Ringkeep uses, and the settings of a database."""

import socket
from pathlib import Path
from typing import Final

from harness.cluster import HOST, PORT_STEP, Trouble, free_base, wait_for
from harness.load import Endpoint
from ringkeep.coordination.server import MAIN_CLASS, find_classpath, find_java, serves
from ringkeep.errors import StartError
from systems.base import NODES, Processes

# The heap of the release's own start script. `ringkeep up` gives its little coordinator much less, and only
# the fast compiler: that would be no fair comparison.
HEAP: Final = "-Xmx1000m"
CONFIG: Final = """\
dataDir={data}
clientPort={port}
clientPortAddress={host}
tickTime=2000
initLimit=10
syncLimit=5
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=srvr
"""


class ZooKeeper:
    """Each key is a znode below the root."""

    name = "zookeeper"
    settings = f"3 servers, {HEAP}, the log synced (default), no further limit on connections; else defaults"
    writes = "Zab: fsync on a majority"
    reads = (
        "the server's own copy, without asking anybody: may be stale, never older than the session has seen"
    )

    def __init__(self, data: Path) -> None:
        base = free_base(NODES, offsets=(0, 2, 4))
        self._data = data
        self._nodes = Processes(self.name, data)
        self.endpoints = [Endpoint(HOST, base + i * PORT_STEP) for i in range(NODES)]
        self.version = "ZooKeeper"  # which one, the running server says

    def start(self) -> None:
        try:
            command = [find_java(), HEAP, "-cp", find_classpath(), MAIN_CLASS]
        except StartError as error:
            raise Trouble(str(error)) from None
        ensemble = "".join(
            f"server.{number}={each.host}:{each.port + 2}:{each.port + 4}\n"
            for number, each in enumerate(self.endpoints, 1)
        )
        for number, endpoint in enumerate(self.endpoints, 1):
            data = self._data / str(number)
            data.mkdir(parents=True)
            (data / "myid").write_text(f"{number}\n")
            config = CONFIG.format(data=data, port=endpoint.port, host=endpoint.host)
            (self._data / f"{number}.cfg").write_text(config + ensemble)
            self._nodes.begin([*command, str(self._data / f"{number}.cfg")])
        wait_for(self._serves, "ZooKeeper's servers to serve")
        self.version = f"ZooKeeper {_version(self.endpoints[0])}"

    def _serves(self) -> bool:
        self._nodes.check()
        return all(serves(each.port) for each in self.endpoints)

    def pids(self) -> list[int]:
        return self._nodes.pids()

    def end(self) -> None:
        self._nodes.end()


def _version(endpoint: Endpoint) -> str:
    """Ask a server; it answers `Zookeeper version: 3.8.0-…, built on …` first."""
    with socket.create_connection(endpoint, timeout=2) as connection:
        connection.sendall(b"srvr")
        answer = b"".join(iter(lambda: connection.recv(4_096), b""))
    return answer.partition(b"\n")[0].partition(b": ")[2].partition(b"-")[0].decode()
