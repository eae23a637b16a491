"""A process that was started from a copy of a running node's disk: it must stop before it sends anything."""

from collections.abc import Mapping, Sequence

from ringkeep.admission import Claim, Mark
from ringkeep.coordination.memory import MemoryCoordination
from ringkeep.core.cluster import feature_level
from ringkeep.core.node import Node
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.core.protocol.effects import Lane
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Incarnation, MapVersion, Millis, NodeId
from ringkeep.driver.enrolment import Start
from ringkeep.driver.turns import Driver
from ringkeep.ports import Ending, Ports
from ringkeep.sim.errors import Violated
from ringkeep.sim.world.disk_copy import DiskCopy
from ringkeep.sim.world.events import Call
from ringkeep.sim.world.machine import SESSION_MS, SIM_TICK_MS, SimMachine
from ringkeep.sim.world.world import World
from ringkeep.wire import mapcodec


class CopyProcess:
    """Every port but the engine and the coordination. The first thing that it would send is the mark."""

    def __init__(self, world: World, original: SimMachine, disk: DiskCopy) -> None:
        self._world = world
        self._original = original
        self._said_at: Millis = 0
        self._stood = self._registered()
        self.alive = True
        incarnation = Incarnation(disk.incarnation + 1)
        node = Node(disk.id, incarnation, disk.engine, mapcodec, "sim", "f" * 32, self.now())
        name = original.name
        member = Member(
            disk.id, name, f"{name}-copy:http", f"{name}-copy:peer", name, 1, world.expect, world.replication,
            world.partitions, incarnation, MapVersion(0), disk.cluster_id,
            feature_level=feature_level.NEWEST,
        )  # fmt: skip
        coordination = MemoryCoordination(world.service, self, self._coordinate, SESSION_MS)  # type: ignore[arg-type]  # see __getattr__
        coordination.write_mark = self._speak  # type: ignore[method-assign]
        ports = Ports(disk.engine, self, self, coordination, self, self, mapcodec)
        self._driver = Driver(node, ports, member, 1, Start(f"{name}-copy-{world.events.now}", disk.claims))
        self._coordination = coordination
        coordination.start()
        self._tick()

    def __getattr__(self, name: str) -> object:
        """Pass the coordination's events to the driver's membership."""
        return getattr(self._driver.membership, name)

    def _speak(self, node: NodeId, expected: int, mark: Mark) -> None:
        mine = self._original
        if mine.alive and mine.id == node and self._stood and self._registered():
            raise Violated(f"{self.now()} {mine.name}: a copy beside its living original takes its mark")
        self.end()  # the original has ended, or is cut off: a copy beside it is another fault

    def _registered(self) -> bool:
        """Whether the original is registered. An original that was not when the copy started may return too
        late: a copy takes the place of an original that has been cut off from ZooKeeper for longer than its
        session.
        """
        mine = self._original
        return any(m.id == mine.id and m.peer == f"{mine.name}:peer" for m in self._world.service.members())

    def end(self) -> None:
        """End the process, if it runs yet."""
        if self.alive:
            self.alive = False
            self._driver.halt()
            self._coordination.stop()

    def _tick(self) -> None:
        if self.alive:
            self._world.events.after(SIM_TICK_MS, self._tick)
            self._driver.tick()

    def _coordinate(self, call: Call) -> None:
        world = self._world
        self._said_at = max(self._said_at, world.events.now + world.draw(0, 3))
        world.events.at(self._said_at, call)

    # --- clock, shell, network, syncer ----------------------------------------------------------------

    def now(self) -> Millis:
        return self._world.events.now

    def soon(self, call: Call) -> None:
        self._world.events.at(self.now(), call, last=True)

    def later(self, delay_ms: Millis, call: Call) -> None:
        self._world.events.after(delay_ms, call)

    def joined(self, cluster_id: str) -> None: ...

    def claiming(self, claims: Sequence[Claim]) -> None: ...

    def superseded(self) -> None: ...

    def departed(self) -> None: ...

    def alarm(self, text: str) -> None: ...

    def stop(self, reason: str, ending: Ending) -> None:
        if "runs already" in reason:
            self._world.count("copy_beside_refused")
        self._world.log(self._original, f"the copy beside it stops: {reason}")
        self.end()

    def disk_free(self) -> tuple[int, int]:
        return 1 << 40, self._world.events.now

    def set_peers(self, peers: Mapping[NodeId, str]) -> None:
        self.send(NodeId(""), Lane.PULSE, [])

    def send(self, peer: NodeId, lane: Lane, messages: list[Message]) -> None:
        raise Violated(f"{self.now()} {self._original.name}: a copy beside its original speaks")

    def renew(self, peer: NodeId) -> None:
        """It has no links."""

    def request(self, ticket: int) -> None: ...
