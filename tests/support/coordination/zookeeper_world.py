"""The coordination contract's world over a real ZooKeeper: proxies to cut, processes to kill."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from kazoo.client import KazooClient
from tests.support.coordination import member_process
from tests.support.coordination.world import Node, Process
from tests.support.coordination.zookeeper import Proxy, copy_of, replace_data
from tests.support.wait import PATIENCE_S, until_async

from ringkeep.coordination.server import ZooKeeperServer
from ringkeep.coordination.zookeeper import ZooKeeperCoordination
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.ports import Coordination


@dataclass
class ChildProcess:
    """A process of its own, straight to the server."""

    child: "subprocess.Popen[bytes]"

    def announce(self, member: Member) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(msgspec.json.encode(member) + b"\n")
        self.child.stdin.flush()

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        assert self.child.stdin is not None
        self.child.stdin.close()


class ZooKeeperWorld:
    """A real server; every node reaches it through a proxy of its own."""

    def __init__(self, server: ZooKeeperServer) -> None:
        self.server = server
        self.cluster = f"test-{uuid.uuid4().hex}"
        self.base = f"/ringkeep/{self.cluster}"
        self.loop = asyncio.new_event_loop()
        self.defects: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.defects.append(context))
        self._nodes: list[Node] = []
        self._processes: list[ChildProcess] = []
        self._operator: Any = None

    def now_ms(self) -> float:
        return time.monotonic() * 1000

    @property
    def operator(self) -> Any:
        """A client of the test's own, straight to the server."""
        if self._operator is None:
            self._operator = KazooClient(self.server.hosts)
            self._operator.start(PATIENCE_S)
        return self._operator

    def node(self, session_ms: int = 10_000, *, chroot: str = "", connected: bool = True) -> Node:
        node = Node(proxy=Proxy(self.server.port), session_ms=session_ms)
        assert node.proxy is not None
        if connected:
            self.loop.run_until_complete(node.proxy.open())
        hosts = f"127.0.0.1:{node.proxy.port}{chroot}"
        node.port = ZooKeeperCoordination(hosts, self.cluster, self.loop, node, session_ms)
        _: Coordination = node.port
        node.port.start()
        self._nodes.append(node)
        return node

    def process(self, session_ms: int) -> Process:
        program = [sys.executable, member_process.__file__]
        child = subprocess.Popen(
            [*program, self.server.hosts, self.cluster, str(session_ms)],
            stdin=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._processes.append(ChildProcess(child))
        return self._processes[-1]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        def what_and_what_was_told() -> str:
            return f"{what}; told: {[node.events[-8:] for node in self._nodes]}"

        self.loop.run_until_complete(until_async(condition, what_and_what_was_told))
        assert not self.defects, self.defects

    def stop(self, node: Node) -> None:
        assert self.loop.run_until_complete(node.port.stop(PATIENCE_S)), "stopping took too long"

    def expire(self, node: Node) -> None:
        # The usual way: whoever knows a session's id and password may end it. The node cannot win its session
        # back meanwhile, because its proxy moves nothing. (`client_id` is None without a connection.)
        client = node.port.client
        twin = KazooClient(self.server.hosts, client_id=(client._session_id, client._session_passwd))
        twin.start(PATIENCE_S)
        twin.stop()
        twin.close()

    def cut(self, node: Node) -> None:
        assert node.proxy is not None
        self.loop.run_until_complete(node.proxy.cut())
        self.until(lambda: not node.port._tasks, "the node noticing the cut")

    def mend(self, node: Node) -> None:
        assert node.proxy is not None
        node.proxy.swallows, node.proxy.swallows_after, node.proxy.holds = False, b"", False
        self.loop.run_until_complete(node.proxy.open())

    def write_and_lose_the_request(self, node: Node, expected: int, payload: bytes) -> None:
        self.write_and_hold_it_up(node, expected, payload)
        assert node.proxy is not None
        node.proxy.drop_held()
        self.mend(node)

    def write_and_lose_the_answer(self, node: Node, expected: int, payload: bytes) -> None:
        assert node.proxy is not None
        node.proxy.swallows = True
        node.port.write_map(expected, payload)
        self.until(lambda: self._map_version() > expected, "the write, or another one, being carried out")
        self.cut(node)
        self.mend(node)

    def write_and_hold_it_up(self, node: Node, expected: int, payload: bytes) -> None:
        proxy = node.proxy
        assert proxy is not None
        proxy.holds = True
        node.port.write_map(expected, payload)
        self.until(lambda: proxy.held(payload), "the write being on its way")
        self.cut(node)

    def let_arrive(self, node: Node, too_late: bool = False) -> None:
        proxy = node.proxy
        assert proxy is not None
        if too_late:
            self.until(proxy.refused, "the server ending the older connection")
        proxy.let_through()

    def kill_service(self) -> None:
        assert self.server.pid is not None
        os.kill(self.server.pid, signal.SIGKILL)
        self.server.stop()  # takes note of the death

    def start_service(self) -> None:
        self.server.start(2 * PATIENCE_S)  # a Java runtime that has the machine to share

    def copy_service(self) -> Any:
        return copy_of(self.server)

    def wipe_service(self, copy: Any = None) -> None:
        replace_data(self.server, copy)
        self._end_operator()  # its client would be refused from now on, as it has seen more

    def put_map(self, payload: bytes) -> None:
        self.operator.create(f"{self.base}/map", payload, makepath=True)

    def _map_version(self) -> int:
        found = self.operator.exists(f"{self.base}/map")
        return -1 if found is None else int(found.version)

    def put_stray_barrier(self) -> None:
        self.operator.create(f"{self.base}/barrier")

    def registrations(self) -> int:
        path = f"{self.base}/members"
        return len(self.operator.get_children(path)) if self.operator.exists(path) else 0

    def close(self) -> None:
        for node in self._nodes:
            if not node.port._stopped:
                self.loop.run_until_complete(node.port.stop(0.5))
            assert node.proxy is not None
            self.loop.run_until_complete(node.proxy.cut())
        for process in self._processes:
            process.kill()
        self._end_operator()
        self.loop.close()

    def _end_operator(self) -> None:
        if self._operator is not None:
            self._operator.stop()
            self._operator.close()
            self._operator = None
