"""A cluster of real nodes for tests, whose nodes can be killed, paused, and cut off.

Needs Java: it has a real ZooKeeper, as any cluster.
"""

import http.client
import json
import shutil
import signal
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_from_bytes

from ringkeep.coordination.server import ZooKeeperServer, find_classpath, find_java
from ringkeep.errors import StartError
from ringkeep.parsing import host_port
from ringkeep.testing.key_space import KeySpace
from ringkeep.testing.process import HOST, NodeProcess, free_ports

if TYPE_CHECKING:
    from ringkeep.testing.network import Network  # it needs what only the server needs

ATTEMPTS: Final = 3
"""Somebody else may take a port that was free."""

SESSION_MS: Final = 2_000
HEALTHY_S: Final = 60.0
POLL_S: Final = 0.02


def missing() -> str:
    """Return what a cluster needs and is not here, with the remedy; "" if all is here."""
    try:
        find_java()
        find_classpath()
    except StartError as error:
        return str(error)
    return ""


class ClusterNode(KeySpace):
    """One node of a cluster. Its clients ask it alone, whatever happens to it."""

    _follow = False

    def __init__(self, name: str, process: NodeProcess, network: "Network") -> None:
        super().__init__()
        self.name = name
        self._process = process
        self._network = network
        self._is_cut = False

    @property
    def url(self) -> str:
        """Its endpoint, without a slash at the end."""
        return f"http://{self._process.http}"

    @property
    def endpoints(self) -> list[str]:
        return [self.url]

    @property
    def pid(self) -> int | None:
        """Its process id; None while it does not run."""
        return self._process.pid

    @property
    def output(self) -> list[str]:
        """The last lines that it has printed."""
        return self._process.output

    def start(self) -> None:
        """Start it again, with its data; return when it is ready. Does nothing if it runs. Raises StartError,
        also while it is cut off: then it is not ready."""
        self._launch()
        self._process.wait_ready()

    def kill(self) -> None:
        """kill -9; returns when it is gone."""
        self._process.end(signal.SIGKILL)
        self._refuse_if_dead()

    def stop(self) -> int | None:
        """Stop it in order, so that it hands over what it leads; return its exit code, None if it did not
        run."""
        code = self._process.end(signal.SIGTERM)
        self._refuse_if_dead()
        return code

    def pause(self) -> None:
        """Stop the process as it is (SIGSTOP): it answers nothing, and its connections stay open."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on (SIGCONT)."""
        self._process.signal(signal.SIGCONT)

    def partition(self, zookeeper: bool = True) -> None:
        """Cut it off from the other nodes, silently: what is sent waits until `heal`.

        `zookeeper`: from ZooKeeper too. Clients still reach it.
        """
        self._is_cut = True
        self._network.accept(self.name)  # a cut is silent, also if there is no process behind it
        self._network.cut(self.name, zookeeper)

    def heal(self) -> None:
        """End its partition."""
        self._is_cut = False
        self._network.heal(self.name)
        self._refuse_if_dead()

    def _refuse_if_dead(self) -> None:
        if self.pid is None and not self._is_cut:
            self._network.refuse(self.name)

    def _launch(self) -> None:
        self._network.accept(self.name)
        self._process.launch()

    def _let_run(self) -> None:
        self.heal()
        if self.pid is not None:
            self.resume()
        self._launch()


class Cluster(KeySpace):
    """Nodes n1, n2, … and a ZooKeeper, with their data. Use it as a context, or `start` it and `close` it.

    `replication`: 1, 3 or 5 copies of each key. `directory`: where the data is kept; by default in a
    temporary directory, which `close` removes. `start` raises StartError, if there is no Java for example.
    Start it in a thread that lives as long as it: on Linux the processes are killed when that thread ends.
    """

    def __init__(
        self, nodes: int = 3, *, replication: int = 3, partitions: int = 16, directory: Path | None = None
    ) -> None:
        super().__init__()
        self.nodes: list[ClusterNode] = []
        self._count, self._replication, self._partitions = nodes, replication, partitions
        self._directory = directory
        self._open = ExitStack()

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def endpoints(self) -> list[str]:
        return [node.url for node in self.nodes]

    def __getitem__(self, name: str) -> ClusterNode:
        """Return the node of that name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def start(self) -> None:
        """Start everything; return when the cluster is healthy. Nothing is left running after StartError."""
        if reason := missing():
            raise StartError(reason)
        for attempt in range(ATTEMPTS):
            try:
                self._start()
            except BaseException as error:
                self.close()
                if not isinstance(error, StartError | OSError) or " in use" not in str(error):
                    raise
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    def wait_healthy(self, limit_s: float = HEALTHY_S) -> None:
        """Wait until every node that runs says that the cluster is healthy: each key has all of its copies,
        and one more failure does no harm. Raises RuntimeError with what is missing."""
        deadline = time.monotonic() + limit_s
        for node in self.nodes:
            while node.pid is not None and (problems := _problems(node)):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"not healthy after {limit_s:g} s, says {node.name}: {problems}")
                time.sleep(POLL_S)

    def leader_of(self, key: str | bytes) -> ClusterNode:
        """Return the node that leads the partition of a key at present, as the first answering node knows it.
        Raises RuntimeError if there is none."""
        name = quote_from_bytes(key.encode() if isinstance(key, str) else key, safe="")
        for node in self.nodes:
            found = _get(node, f"/v1/cluster/where?key={name}") if node.pid is not None else None
            if found is not None and found.get("primary") is not None:
                return self[found["primary"]]
        raise RuntimeError(f"no node knows who leads {key!r}")

    def restore(self) -> None:
        """End every partition, let every node run, and wait until the cluster is healthy."""
        for node in self.nodes:
            node._let_run()
        self.wait_healthy()

    def close_clients(self) -> None:
        """Close every client that this cluster and its nodes have returned."""
        super().close_clients()
        for node in self.nodes:
            node.close_clients()

    def close(self) -> None:
        """Close its clients, end all of its processes, and remove a temporary directory."""
        self.close_clients()
        self._open.close()
        self.nodes = []

    def _start(self) -> None:
        from ringkeep.testing.network import Network

        directory = self._directory
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="ringkeep-"))
            self._open.callback(shutil.rmtree, directory, ignore_errors=True)
        directory.mkdir(parents=True, exist_ok=True)
        zookeeper = ZooKeeperServer(directory / "zookeeper", free_ports(1)[0])
        self._open.callback(zookeeper.stop)
        zookeeper.start(HEALTHY_S)
        network = Network()
        self._open.callback(network.close)
        taken = free_ports(4 * self._count)
        for number in range(self._count):
            self.nodes.append(
                self._node(f"n{number + 1}", directory, taken[4 * number :][:4], network, zookeeper.port)
            )
        for node in self.nodes:
            self._open.callback(node.kill)
            node._launch()
        for node in self.nodes:
            node._process.wait_ready(HEALTHY_S)
        self.wait_healthy()

    def _node(
        self, name: str, directory: Path, ports: list[int], network: "Network", zookeeper: int
    ) -> ClusterNode:
        http, peer, from_peers, to_zookeeper = ports
        network.carry_peers(name, from_peers, peer)
        network.carry_to_zookeeper(name, to_zookeeper, zookeeper)
        flags = {
            "name": name,
            "http": f"{HOST}:{http}",
            "peer": f"{HOST}:{peer}",
            "advertise-peer": f"{HOST}:{from_peers}",
            "data": str(directory / name),
            "zookeeper": f"{HOST}:{to_zookeeper}",
            "zookeeper-session-ms": str(SESSION_MS),
            "cluster": "testing",
            "expect": str(self._count),
            "replication": str(self._replication),
            "partitions": str(self._partitions),
        }
        words = [word for flag, value in flags.items() for word in (f"--{flag}", value)]
        process = NodeProcess(["node", *words], flags["http"], directory / f"{name}.output")
        return ClusterNode(name, process, network)


def _problems(node: ClusterNode) -> str:
    """Return why the cluster is not healthy, as this node sees it; "" if it is."""
    found = _get(node, "/v1/cluster")
    if found is None:
        return "it does not answer"
    if found.get("health") == "healthy" and _get(node, "/readyz?verbose", as_json=False) is not None:
        return ""
    return "; ".join(found.get("problems") or ()) or "it is not ready"


def _get(node: ClusterNode, path: str, as_json: bool = True) -> dict[str, Any] | None:
    """Return the document at a path; None unless the node answers with 200."""
    host, port = host_port(node.url.removeprefix("http://"))
    with closing(http.client.HTTPConnection(host, port, timeout=2)) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return None
    if answer.status != 200:
        return None
    found: dict[str, Any] = json.loads(body) if as_json else {}
    return found
