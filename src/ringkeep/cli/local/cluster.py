"""Runs a local cluster for `ringkeep up`: starts ZooKeeper and the nodes, waits, watches, and stops them all.

No process may be left behind. If `up` is killed, the kernel kills its children; in every other case
`_Cluster.stop` runs.
"""

import contextlib
import logging
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ringkeep import process
from ringkeep.cli.cluster.health import lines_of, settled
from ringkeep.cli.local.node_directory import has_left
from ringkeep.cli.local.node_process import LocalNode, leftover_nodes, stop_nodes
from ringkeep.cli.local.readiness import Readiness
from ringkeep.cli.local.settings import UpSettings
from ringkeep.cli.local.stop_signals import StopRequests
from ringkeep.cli.local.zookeeper_process import LocalZooKeeper
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.tables import show_table
from ringkeep.errors import ConfigurationError
from ringkeep.exit_codes import FAILED, OK, UNAVAILABLE
from ringkeep.parsing import host_port, join_address
from ringkeep.settings import PEER_PORT_OFFSET
from ringkeep.storage import files

HOST: Final = "127.0.0.1"
WATCH_S: Final = 0.2
ZOOKEEPER_ANSWER_S: Final = 3.0
SETTLE_S: Final = 2.0

log = logging.getLogger(__name__)


def ringkeep_command() -> list[str]:
    """Return the words that start `ringkeep` itself, as a person could type them."""
    script = Path(sys.argv[0])
    if script.name == "ringkeep" and script.is_file():
        return [str(script.absolute())]
    return [sys.executable, "-m", "ringkeep.cli.main"]


def run_up(settings: UpSettings, command: Sequence[str] | None = None) -> int:
    """Run a local cluster until asked to stop; return the exit code.

    `command` replaces the words that start a node (tests start a stand-in). Raises Failure, StartError and
    ConfigurationError for what stands in the way of starting; nothing is left running then.
    """
    with StopRequests() as stop, process.PidFile.take(settings.data):
        process.start_log(settings.data, "up", to_stderr=False)
        cluster = _Cluster(settings, list(command or [*ringkeep_command(), "node"]), stop)
        try:
            return cluster.run()
        except BaseException as error:
            log.error("%s: %s", type(error).__name__, error)
            raise
        finally:
            cluster.stop()


class _Cluster:
    """The processes of one `ringkeep up`."""

    def __init__(self, settings: UpSettings, command: list[str], stop: StopRequests) -> None:
        self._settings = settings
        self._stop = stop
        self._command = command
        self._nodes = [self._node(position) for position in range(settings.nodes)]
        self._zookeeper: LocalZooKeeper | None = None

    def run(self) -> int:
        """Start everything, wait until it is ready, watch it until asked to stop."""
        _check_directory(self._settings.data)
        self._clear_leftovers()
        self._choose_nodes()
        self._check_ports()
        hosts = self._settings.zookeeper or self._start_zookeeper()
        if self._settings.zookeeper:
            _check_zookeeper(hosts)
        self._settings.remember()
        for node in self._nodes:
            if self._stop:
                return OK
            argv = [*self._command, *self._flags(node, hosts)]
            log.info("starting %s: %s", node.name, shlex.join(argv))
            node.start(argv)
        # Threads come after the last child: between fork and exec no other thread may hold a lock.
        for node in self._nodes:
            node.collect_output()
        code = self._wait_until_ready()
        if code is not None:
            return code
        self._show()
        self._watch()
        return OK

    def stop(self) -> None:
        """Stop every node of the directory, also those started again by hand, then ZooKeeper."""
        say_stopping = any(node.pid() for node in self._nodes)
        if say_stopping:
            say("stopping …")
        stop_nodes(self._nodes, self._settings.data, self._stop)
        if self._zookeeper is not None:
            self._zookeeper.stop(self._stop)
        if say_stopping:
            say("stopped")

    def _node(self, position: int) -> LocalNode:
        port = self._settings.http_port(position)
        name = f"node-{position + 1}"
        return LocalNode(
            name=name,
            http=join_address(HOST, port),
            peer=join_address(HOST, port + PEER_PORT_OFFSET),
            directory=self._settings.data / name,
        )

    def _flags(self, node: LocalNode, zookeeper: str) -> list[str]:
        """Return every flag of a node, each and its value as an argument of its own."""
        settings = self._settings
        flags = {
            "--name": node.name,
            "--http": node.http,
            "--peer": node.peer,
            "--advertise-http": node.http,
            "--advertise-peer": node.peer,
            "--data": str(node.directory),
            "--zookeeper": zookeeper,
            "--cluster": settings.cluster,
            "--expect": str(len(self._nodes)),
            "--replication": str(settings.replication),
            "--partitions": str(settings.partitions),
            "--zone": node.name,
            "--weight": "1",
        }
        if settings.allowed_hosts:
            flags["--allowed-hosts"] = ",".join(settings.allowed_hosts)
        return [word for pair in flags.items() for word in pair]

    def _clear_leftovers(self) -> None:
        """Stop what an earlier `up` that was killed, or a person, left running in this directory."""
        for name, pid in leftover_nodes(self._settings.data):
            say(f"{name} is still running from an earlier start (process {pid}): stopping it")
        stop_nodes([], self._settings.data, self._stop)

    def _choose_nodes(self) -> None:
        """Leave out the nodes that have left the cluster; name those whose data is here but are not started.

        Comes after the leftovers, as one of them may have been leaving. Raises Failure if no node remains.
        """
        left = [node for node in self._nodes if has_left(node.directory)]
        if len(left) == len(self._nodes):
            raise _nobody_to_start(left)
        if left:
            say(f"{_have_left(left)}, and {'is' if len(left) == 1 else 'are'} not started")
        asked_for = {node.name for node in self._nodes}
        self._nodes = [node for node in self._nodes if node not in left]
        missing = [
            path.name
            for path in sorted(self._settings.data.glob("node-*"))
            if path.name not in asked_for and not has_left(path)
        ]
        if missing:
            say(f"not started, although their data is in this directory: {', '.join(missing)} (see --nodes)")

    def _check_ports(self) -> None:
        for node in self._nodes:
            for what, address in (("HTTP", node.http), ("peer", node.peer)):
                host, port = host_port(address)
                if not process.port_is_free(host, port):
                    whose = f"port {port} ({what} port of {node.name})"
                    raise Failure(f"{whose} is in use; choose other ports with --base-port")

    def _start_zookeeper(self) -> str:
        taken = [host_port(address)[1] for node in self._nodes for address in (node.http, node.peer)]
        self._zookeeper = LocalZooKeeper(
            self._settings.data / "zookeeper",
            taken,
            [*ringkeep_command(), "zookeeper"],
            self._settings.zookeeper_port,
        )
        self._zookeeper.start(self._stop)
        return self._zookeeper.hosts

    def _wait_until_ready(self) -> int | None:
        """Return None once all nodes are ready, else the exit code to end with."""
        with Readiness(self._nodes, say) as readiness:
            while not self._stop:
                self._report_ends()
                for node in self._nodes:
                    if node.failed():
                        readiness.close()
                        return self._give_up(node)
                if readiness.poll():
                    if all(node.left for node in self._nodes):
                        raise _nobody_to_start(self._nodes)
                    return None
                self._stop.wait(lambda: False, WATCH_S)
        return OK

    def _give_up(self, node: LocalNode) -> int:
        output = (f"  {line}" for line in node.last_output())
        say("\n".join([f"{node.name} ended with exit code {node.exit_code}:", *output]))
        return node.exit_code or FAILED

    def _show(self) -> None:
        zookeeper = self._zookeeper
        nodes = [node for node in self._nodes if node.is_running()]
        rows: list[list[object]] = [
            [node.name, f"http://{node.http}", node.peer, node.pid(), node.name, "ready"] for node in nodes
        ]
        if zookeeper is not None:
            rows.append(["zookeeper", None, zookeeper.hosts, zookeeper.pid(), None, "ready"])
        with contextlib.suppress(OSError):
            show_table(("NAME", "HTTP", "PEER", "PID", "ZONE", "STATE"), rows)
        first, second = nodes[0].http, nodes[1 % len(nodes)].http
        # A ready cluster is healthy soon, unless something is missing; with too few nodes it never is.
        cluster = settled(first, SETTLE_S if len(nodes) >= self._settings.replication else 0)
        if cluster:
            say(
                "\n".join(
                    [f"The cluster is {cluster['health']}.", *(f"  {line}" for line in lines_of(cluster))]
                )
            )
        say(
            f"\nData and logs are in {self._settings.data}. Try:\n"
            f"""  curl -X POST http://{first}/put -d '{{"key": "hello", "value": "world"}}'\n"""
            f"  curl 'http://{second}/get?key=hello'\n"
            "Ctrl-C stops everything; the data stays."
        )

    def _watch(self) -> None:
        while not self._stop:
            self._report_ends()
            self._stop.wait(lambda: False, WATCH_S)

    def _report_ends(self) -> None:
        """Report which processes ended, or were started again, since the last look."""
        processes: list[LocalNode | LocalZooKeeper] = [*self._nodes]
        if self._zookeeper is not None:
            processes.append(self._zookeeper)
        for each in processes:
            for change in each.changes():
                say(change)


def _have_left(nodes: Sequence[LocalNode]) -> str:
    names = ", ".join(node.name for node in nodes)
    return f"{names} {'has' if len(nodes) == 1 else 'have'} left the cluster"


def _nobody_to_start(nodes: Sequence[LocalNode]) -> Failure:
    return Failure(f"{_have_left(nodes)}, and no other is requested; give more --nodes, or another --data")


def _check_directory(data: Path) -> None:
    """Raise ConfigurationError if this is the directory of a node, which holds no cluster."""
    if (data / files.IDENTITY).exists():
        raise ConfigurationError(
            f"{data} is the directory of one node (`ringkeep dev` or `ringkeep node`), not of a cluster of"
            " `ringkeep up`. Nothing was changed. Choose another --data directory"
        )


def _check_zookeeper(hosts: str) -> None:
    """Raise Failure (4) unless a server accepts a connection: nodes would wait for it without an error."""
    deadline = time.monotonic() + ZOOKEEPER_ANSWER_S
    causes: list[str] = []
    for address in hosts.partition("/")[0].split(","):
        try:
            left_s = max(0.1, deadline - time.monotonic())
            socket.create_connection(host_port(address), left_s).close()
            return
        except (OSError, UnicodeError) as error:  # the latter: an invalid host name
            causes.append(f"{address}: {getattr(error, 'strerror', None) or error}")
    raise Failure(
        f"ZooKeeper does not answer at {hosts} ({'; '.join(causes)}); start it first, check the name, or"
        " leave --zookeeper out",
        UNAVAILABLE,
    )


def say(text: str) -> None:
    """Print it, and log it. A closed terminal does not stop the cluster."""
    for line in text.strip().splitlines():
        log.info("%s", line)
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)
