"""The two worlds that the coordination contract is run in: the service in memory, and a real ZooKeeper."""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from kazoo.client import KazooClient
from tests.zookeeper_fixture import Proxy

from ringkeep.coordination.memory import MemoryCoordination, MemoryService
from ringkeep.coordination.server import ZooKeeperServer
from ringkeep.coordination.zookeeper import ZooKeeperCoordination
from ringkeep.core.clustermap import Member
from ringkeep.core.types import Incarnation, MapVersion, NodeId
from ringkeep.ports import Coordination

PATIENCE_S = 30.0
SHORT_SESSION_MS = 1_000  # the shortest that the test server grants


def a_member(number: int, **changes: Any) -> Member:
    """Return a member of a cluster that is not formed yet."""
    values: dict[str, Any] = {
        "id": NodeId(f"{number:032x}"),
        "name": f"node-{number}",
        "http": f"127.0.0.1:{8000 + 10 * number}",
        "peer": f"127.0.0.1:{8002 + 10 * number}",
        "zone": f"node-{number}",
        "weight": 1,
        "expect": 3,
        "replication": 3,
        "partitions": 256,
        "incarnation": Incarnation(1),
        "map_version": MapVersion(0),
    }
    return Member(**{**values, **changes})


@dataclass
class Recorder:
    """A sink that keeps everything; `events` are in the order of their coming."""

    events: list[tuple[str, Any]] = field(default_factory=list)

    def members_changed(self, members: list[Member]) -> None:
        self.events.append(("members", members))

    def barrier_read(self, stands: bool) -> None:
        self.events.append(("barrier", stands))

    def map_read(self, znode_version: int, payload: bytes | None) -> None:
        self.events.append(("map", (znode_version, payload)))

    def map_written(self, ok: bool | None) -> None:
        self.events.append(("written", ok))

    def session_changed(self, connected: bool) -> None:
        self.events.append(("session", connected))

    def all(self, kind: str) -> list[Any]:
        return [value for name, value in self.events if name == kind]

    def last(self, kind: str) -> Any:
        return next((value for name, value in reversed(self.events) if name == kind), None)

    def names(self) -> list[str]:
        """The registered members' names, in order, as told last."""
        return [member.name for member in self.last("members") or []]

    def member(self, name: str) -> Member:
        """The member of that name, as told last."""
        found: Member = next(member for member in self.last("members") if member.name == name)
        return found

    def sequence_of(self, name: str) -> int:
        return self.member(name).sequence


@dataclass
class Node(Recorder):
    """One node: its handle, and what was told to it."""

    port: Any = None
    proxy: Proxy | None = None


class World(Protocol):
    """What a contract test may do in either world."""

    def node(self, session_ms: int = 10_000) -> Node: ...
    def until(self, condition: Callable[[], bool], what: str) -> None: ...
    def stop(self, node: Node) -> None: ...
    def kill(self, node: Node) -> None: ...
    def expire(self, node: Node) -> None: ...
    def cut(self, node: Node) -> None: ...
    def mend(self, node: Node) -> None: ...
    def stay_cut(self, node: Node) -> None: ...
    def write_and_lose_the_answer(self, node: Node, expected: int, payload: bytes) -> None: ...
    def put_stray_barrier(self) -> None: ...
    def registrations(self) -> int: ...
    def close(self) -> None: ...


class MemoryWorld:
    """Messages take effect one after the other, when the test waits for something."""

    def __init__(self) -> None:
        self.service = MemoryService()
        self._messages: deque[Callable[[], None]] = deque()

    def node(self, session_ms: int = 10_000) -> Node:
        node = Node()
        node.port = MemoryCoordination(self.service, node, self._messages.append)
        _: Coordination = node.port
        node.port.start()
        return node

    def until(self, condition: Callable[[], bool], what: str) -> None:
        for _ in range(10_000):
            if condition():
                return
            if not self._messages:
                break
            self._messages.popleft()()
        pytest.fail(f"waited for: {what}")

    def stop(self, node: Node) -> None:
        node.port.stop()

    def kill(self, node: Node) -> None:
        node.port.crash()
        node.port.expire()

    def expire(self, node: Node) -> None:
        node.port.expire()

    def cut(self, node: Node) -> None:
        node.port.disconnect()

    def mend(self, node: Node) -> None:
        node.port.connect()

    def stay_cut(self, node: Node) -> None:
        node.port.disconnect()
        node.port.time_out()

    def write_and_lose_the_answer(self, node: Node, expected: int, payload: bytes) -> None:
        node.port.lose_next_answer()
        node.port.write_map(expected, payload)

    def put_stray_barrier(self) -> None:
        self.service.put_barrier()

    def registrations(self) -> int:
        return len(self.service.members())

    def close(self) -> None:
        pass


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
        self._operator: Any = None

    @property
    def operator(self) -> Any:
        """A client of the test's own, straight to the server."""
        if self._operator is None:
            self._operator = KazooClient(self.server.hosts)
            self._operator.start(PATIENCE_S)
        return self._operator

    def node(self, session_ms: int = 10_000, *, chroot: str = "", connected: bool = True) -> Node:
        node = Node(proxy=Proxy(self.server.port))
        assert node.proxy is not None
        if connected:
            self.loop.run_until_complete(node.proxy.open())
        hosts = f"127.0.0.1:{node.proxy.port}{chroot}"
        node.port = ZooKeeperCoordination(hosts, self.cluster, self.loop, node, session_ms)
        _: Coordination = node.port
        node.port.start()
        self._nodes.append(node)
        return node

    def until(self, condition: Callable[[], bool], what: str) -> None:
        async def wait() -> None:
            deadline_s = time.monotonic() + PATIENCE_S
            while not condition():
                if time.monotonic() > deadline_s:
                    pytest.fail(f"waited for: {what}; told: {[node.events[-8:] for node in self._nodes]}")
                await asyncio.sleep(0.005)

        self.loop.run_until_complete(wait())
        assert not self.defects, self.defects

    def stop(self, node: Node) -> None:
        assert self.loop.run_until_complete(node.port.stop(PATIENCE_S)), "stopping took too long"

    def kill(self, node: Node) -> None:
        self.cut(node)

    def expire(self, node: Node) -> None:
        # The usual way: whoever knows a session's id and password may end it. The node cannot win its session
        # back meanwhile, because its proxy moves nothing.
        twin = KazooClient(self.server.hosts, client_id=node.port.client.client_id)
        twin.start(PATIENCE_S)
        twin.stop()
        twin.close()

    def cut(self, node: Node) -> None:
        assert node.proxy is not None
        self.loop.run_until_complete(node.proxy.cut())
        self.until(lambda: not node.port._tasks, "the node noticing the cut")

    def mend(self, node: Node) -> None:
        assert node.proxy is not None
        node.proxy.swallows, node.proxy.swallows_after = False, b""
        self.loop.run_until_complete(node.proxy.open())

    def stay_cut(self, node: Node) -> None:
        self.cut(node)

    def write_and_lose_the_answer(self, node: Node, expected: int, payload: bytes) -> None:
        assert node.proxy is not None
        node.proxy.swallows = True
        node.port.write_map(expected, payload)
        self.until(lambda: self._holds(payload), "the write being carried out")
        self.cut(node)
        self.mend(node)

    def _holds(self, payload: bytes) -> bool:
        found = self.operator.exists(f"{self.base}/map") and self.operator.get(f"{self.base}/map")[0]
        return bool(found == payload)

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
        if self._operator is not None:
            self._operator.stop()
            self._operator.close()
        self.loop.close()
