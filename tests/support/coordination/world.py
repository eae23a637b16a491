"""What the coordination contract needs of a world to be run in, and the world in memory.

The other one, a real ZooKeeper, is in `tests.support.coordination.zookeeper_world`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, Protocol

import pytest
from tests.support.coordination.zookeeper import Proxy

from ringkeep.admission import Mark
from ringkeep.coordination.memory import MemoryCoordination, MemoryService
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.core.protocol.types import Incarnation, MapVersion, NodeId
from ringkeep.ports import Coordination

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
    on_connected: Callable[[], None] | None = None

    def members_changed(self, members: list[Member]) -> None:
        self.events.append(("members", members))

    def barrier_read(self, stands: bool) -> None:
        self.events.append(("barrier", stands))

    def map_read(self, znode_version: int, payload: bytes | None) -> None:
        self.events.append(("map", (znode_version, payload)))

    def map_written(self, ok: bool | None) -> None:
        self.events.append(("written", ok))

    def mark_read(self, version: int, mark: Mark | None) -> None:
        self.events.append(("mark", (version, mark)))

    def session_changed(self, connected: bool) -> None:
        self.events.append(("session", connected))
        if connected and self.on_connected is not None:
            self.on_connected()

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
    session_ms: int = 0
    cuts: int = 0
    """How often its connection was cut or mended."""


class Process(Protocol):
    """A member's process that a test may kill."""

    def announce(self, member: Member) -> None: ...
    def kill(self) -> None: ...


class World(Protocol):
    """What a contract test may do in either world."""

    def now_ms(self) -> float: ...
    def node(self, session_ms: int = 10_000) -> Node: ...
    def process(self, session_ms: int) -> Process: ...
    def until(self, condition: Callable[[], bool], what: str) -> None: ...
    def stop(self, node: Node) -> None: ...
    def expire(self, node: Node) -> None:
        """End the node's session, connected or not."""

    def cut(self, node: Node) -> None:
        """End its connection. Unless it is mended in time, the session will expire of itself."""

    def mend(self, node: Node) -> None: ...
    def write_and_lose_the_request(self, node: Node, expected: int, payload: bytes) -> None:
        """Write; the connection is lost before the write gets there, and comes back."""

    def write_and_lose_the_answer(self, node: Node, expected: int, payload: bytes) -> None:
        """Write; the connection is lost after the write got there, and comes back."""

    def write_and_hold_it_up(self, node: Node, expected: int, payload: bytes) -> None:
        """Write; the connection is lost while the write is on its way, and it still is."""

    def let_arrive(self, node: Node, too_late: bool = False) -> None:
        """Let what was held up arrive. Too late: the connection came back, or the session ended."""

    def kill_service(self) -> None:
        """All servers are gone at once; what they had acknowledged is on their disks."""

    def start_service(self) -> None: ...
    def copy_service(self) -> Any:
        """Return a copy of what is on the disk of a service that was killed."""

    def wipe_service(self, copy: Any = None) -> None:
        """Delete what is on the disk of a service that was killed, or put a copy in its place."""

    def put_map(self, payload: bytes) -> None:
        """Create the map as an operator."""

    def put_stray_barrier(self) -> None: ...
    def registrations(self) -> int: ...
    def close(self) -> None: ...


@dataclass
class MemoryProcess:
    """A node whose end the service notices only when its session expires."""

    world: "MemoryWorld"
    node: Node

    def announce(self, member: Member) -> None:
        self.node.port.announce(member)

    def kill(self) -> None:
        self.node.port.crash()
        self.world.later(self.node.session_ms, self.node.port.expire)


class MemoryWorld:
    """Messages take effect one after the other, when the test waits for something; then time passes."""

    def __init__(self) -> None:
        self.service = MemoryService()
        self._messages: deque[Callable[[], object]] = deque()
        self._now_ms = 0
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._serves = True
        self._nodes: list[Node] = []
        self._held: Callable[[], object] = int  # a write on its way

    def now_ms(self) -> float:
        return self._now_ms

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        heappush(self._timers, (self._now_ms + delay_ms, next(self._numbers), call))

    def node(self, session_ms: int = 10_000) -> Node:
        node = Node(session_ms=session_ms)
        node.port = MemoryCoordination(self.service, node, self._messages.append)
        _: Coordination = node.port
        self._nodes.append(node)
        if self._serves:
            node.port.start()
        else:
            self.cut(node)
        return node

    def process(self, session_ms: int) -> Process:
        return MemoryProcess(self, self.node(session_ms))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        for _ in range(10_000):
            if condition():
                return
            if self._messages:
                self._messages.popleft()()
            elif self._timers:
                self._now_ms, _, call = heappop(self._timers)
                call()
            else:
                break
        pytest.fail(f"waited for: {what}")

    def stop(self, node: Node) -> None:
        node.port.stop()

    def expire(self, node: Node) -> None:
        node.port.expire()

    def cut(self, node: Node) -> None:
        self._cut(node, requests_arrive=False)

    def _cut(self, node: Node, requests_arrive: bool) -> None:
        node.cuts += 1
        node.port.disconnect(requests_arrive)
        self.later(node.session_ms, partial(self._fall_silent, node, node.cuts))

    def _fall_silent(self, node: Node, cuts: int) -> None:
        if node.cuts == cuts:
            node.port.time_out()
            if self._serves:
                node.port.expire()

    def mend(self, node: Node) -> None:
        node.cuts += 1
        node.port.connect()

    def write_and_lose_the_request(self, node: Node, expected: int, payload: bytes) -> None:
        node.port.write_map(expected, payload)
        self.cut(node)
        self.mend(node)

    def write_and_lose_the_answer(self, node: Node, expected: int, payload: bytes) -> None:
        node.port.lose_next_answer()
        node.port.write_map(expected, payload)

    def write_and_hold_it_up(self, node: Node, expected: int, payload: bytes) -> None:
        node.port.write_map(expected, payload)
        self._held = self._messages.pop()
        self._cut(node, requests_arrive=True)

    def let_arrive(self, node: Node, too_late: bool = False) -> None:
        self._messages.append(self._held)

    def kill_service(self) -> None:
        self._serves = False
        for node in self._nodes:
            self.cut(node)

    def start_service(self) -> None:
        self._serves = True
        for node in self._nodes:
            self.mend(node)

    def copy_service(self) -> Any:
        return self.service.map_version, self.service.map

    def wipe_service(self, copy: Any = None) -> None:
        self.service.restore(*(copy or (-1, None)))

    def put_map(self, payload: bytes) -> None:
        self.service.put_map(0, payload)

    def put_stray_barrier(self) -> None:
        self.service.put_barrier()

    def registrations(self) -> int:
        return len(self.service.members())

    def close(self) -> None:
        pass


def formed(world: World, *nodes: Node) -> None:
    """Form the cluster with map b"one", seen by these nodes."""
    nodes[0].port.announce(a_member(1))
    world.until(lambda: nodes[0].last("barrier") is True, "a barrier")
    nodes[0].port.write_map(-1, b"one")
    world.until(lambda: all(node.last("map") == (0, b"one") for node in nodes), "the first map")
    world.until(lambda: not any(node.last("barrier") for node in nodes), "an open barrier")
