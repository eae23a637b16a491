"""A cluster in one process: the real core behind the real driver, over simulated ports, from one seed.

The world owns time, the network, the disks and the coordination service. Faults are its methods; who calls
them, and when, is `faults.py`.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

from ringkeep.coordination.memory import MemoryCoordination, MemoryService
from ringkeep.core import limits
from ringkeep.core.clustermap import Member
from ringkeep.core.node import Node
from ringkeep.core.requests import Request
from ringkeep.core.types import Incarnation, MapVersion, Millis, NodeId
from ringkeep.driver import Driver, Ports
from ringkeep.errors import StorageError
from ringkeep.sim.events import Call, Events
from ringkeep.sim.invariants import Invariants
from ringkeep.sim.network import SimNetwork
from ringkeep.storage.memory import MemoryEngine
from ringkeep.wire import mapcodec

SESSION_MS = 2_000
SIM_TICK_MS = 50
SIM_LOG_ENTRIES = 12  # so small that snapshots must happen


class SimNode:
    """One machine: its disk and identity outlive its processes."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.name = f"n{number}"
        self.id = NodeId(f"{number + 1:032x}")
        self.incarnation = Incarnation(0)
        self.cluster_id = ""
        self.engine = MemoryEngine()
        self.alive = False
        self.paused_until: Millis = 0
        self._held: list[tuple[int, Call]] = []  # what came while paused, in its order
        self.clock_rate = 1.0
        self.fsync_ms = (0, 2)
        self.driver: Driver
        self.network: SimNetwork
        self.coordination: MemoryCoordination

    # --- life -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a process on this machine."""
        world = self.world
        self.incarnation = Incarnation(self.incarnation + 1)
        self.alive = True
        self.life = SimShell(self)
        node = Node(self.id, self.incarnation, self.engine, mapcodec, "sim", f"{world.seed:032x}", self.now())
        node.context.log_entries = SIM_LOG_ENTRIES
        node.context.damaged = self.engine.damaged
        member = Member(
            self.id, self.name, f"{self.name}:http", f"{self.name}:peer", self.name, 1, len(world.nodes),
            world.replication, world.partitions, self.incarnation, MapVersion(0), self.cluster_id,
        )  # fmt: skip
        self.network = SimNetwork(world, self)
        late = _Events()
        self.coordination = MemoryCoordination(world.service, late, self._coordinate)  # type: ignore[arg-type]
        syncer = SimSyncer(self, self.engine)
        ports = Ports(self.engine, syncer, self.network, self.coordination, self, self.life, mapcodec)
        self.driver = late.sink = Driver(node, ports, member, 0)
        world.invariants.on_start(self)
        self.coordination.start()
        self._tick(self.incarnation)

    def crash(self, keep: Callable[[int], int]) -> None:
        """End the process at once; of what was not synced, a prefix of `keep(count)` batches survives."""
        self.alive = False
        self.driver.halt()
        self.network.over = True
        coordination = self.coordination
        coordination.crash()
        self.world.events.after(SESSION_MS, coordination.expire)
        self.engine.crash(keep)
        self.engine = self.engine.reopen()
        self.world.drop_links_of(self)

    def deliver(self, call: Call) -> None:
        """Run an event of this process, unless it is gone by then; a paused one runs it later."""
        self._run(self.incarnation, call)

    def _run(self, life: int, call: Call) -> None:
        if not self.alive or self.incarnation != life:
            return
        if self._held or self.world.events.now < self.paused_until:
            self._held.append((life, call))
            if len(self._held) == 1:
                self._wake()
            return
        call()

    def _wake(self) -> None:
        """Take what came during a pause, once it is over; nothing that comes later overtakes it."""
        events = self.world.events
        if events.now < self.paused_until:
            events.at(self.paused_until, self._wake)
            return
        held, self._held = self._held, []
        for life, call in held:
            if self.alive and self.incarnation == life:
                call()

    def _coordinate(self, call: Call) -> None:
        """Messages to and from the coordination service take a moment, and keep their order."""
        world = self.world
        when = max(getattr(self.life, "coordinated", 0), world.events.now + world.random.randint(0, 3))
        self.life.coordinated = when
        world.events.at(when, call)

    def _tick(self, life: int) -> None:
        if self.alive and self.incarnation == life:
            self.world.events.after(SIM_TICK_MS, lambda: self._tick(life))
            if self.world.events.now >= self.paused_until:
                self.driver.tick()

    def now(self) -> Millis:
        """This machine's clock."""
        return int(self.world.events.now * self.clock_rate)


class _Events:
    """Stands for the driver until it is made; a dead process hears nothing."""

    sink: Driver

    def __getattr__(self, name: str) -> object:
        return getattr(self.sink, name)


class SimShell:
    """The driver's shell for one life."""

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self._life = node.incarnation
        self.coordinated: Millis = 0
        self.stopped = ""

    def soon(self, call: Call) -> None:
        node = self._node
        node.world.events.at(node.world.events.now, lambda: self._finish(call), last=True)

    def _finish(self, call: Call) -> None:
        node = self._node
        if node.alive and node.incarnation == self._life:
            call()
            node.world.invariants.after_turn(node)

    def later(self, delay_ms: Millis, call: Call) -> None:
        node, life = self._node, self._life
        node.world.events.after(delay_ms, lambda: node._run(life, call))

    def joined(self, cluster_id: str) -> None:
        self._node.cluster_id = cluster_id

    def superseded(self) -> None:
        raise AssertionError(f"{self._node.name} is no old copy")

    def alarm(self, text: str) -> None:
        self._node.world.log(self._node, f"alarm: {text}")
        assert "forked" not in text and "two cluster maps" not in text, text

    def stop(self, reason: str, refused: bool) -> None:
        self.stopped = reason
        self._node.world.log(self._node, f"stops: {reason}")
        assert not refused, f"{self._node.name} was refused: {reason}"

    def disk_free(self) -> int:
        return 1 << 40


class SimSyncer:
    """Group commit with one flush at a time, taking a while."""

    def __init__(self, node: SimNode, engine: MemoryEngine) -> None:
        self._node = node
        self._engine = engine
        self._life = node.incarnation
        self._asked = 0
        self._busy = False

    def request(self, ticket: int) -> None:
        self._asked = ticket
        if not self._busy:
            self._flush()

    def _flush(self) -> None:
        self._busy = True
        covered = self._engine.written
        delay = self._node.world.random.randint(*self._node.fsync_ms)
        self._node.world.events.after(delay, lambda: self._done(covered))

    def _done(self, covered: int) -> None:
        node = self._node
        if not node.alive or node.incarnation != self._life:
            return
        try:
            self._engine.make_durable(covered)
        except StorageError as error:
            node.deliver(partial(node.driver.sync_failed, error))
            return
        self._busy = False
        node.world.invariants.on_durable(node, covered)
        node.deliver(lambda: node.driver.synced(covered))
        if self._asked > covered:
            self._flush()


class World:
    """Everything, from one seed. The same seed gives the same run, whatever PYTHONHASHSEED is."""

    def __init__(
        self,
        seed: int,
        nodes: int = 3,
        partitions: int = 2,
        replication: int = 3,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.events = Events()
        self.partitions = partitions
        self.replication = replication
        self.service = MemoryService()
        self.invariants = Invariants(self)
        self._trace = trace
        self._blocked: set[tuple[NodeId, NodeId]] = set()
        self.slowest_ms = 4
        self.nodes: dict[NodeId, SimNode] = {}
        self.counters: Counter[str] = Counter()
        for number in range(nodes):
            node = SimNode(self, number)
            self.nodes[node.id] = node

    def start(self) -> None:
        """Start every node, and wait until the cluster serves."""
        for node in self.nodes.values():
            self.events.after(self.random.randint(0, 50), node.start)
        assert self.events.run_until(self.healthy, 20_000), f"seed {self.seed}: the cluster did not form"

    def log(self, node: SimNode | None, text: str) -> None:
        """Write a line of the story, if anybody reads it."""
        if self._trace is not None:
            self._trace(f"{self.events.now:>7} {node.name if node is not None else '':<4} {text}")

    def healthy(self) -> bool:
        """Whether every node is up, ready, and every partition has an ACTIVE primary that all agree on."""
        maps = [n.driver.node.context.cluster_map for n in self.nodes.values() if n.alive]
        if (
            len(maps) < len(self.nodes)
            or maps[0] is None
            or any(m is None or m.version != maps[0].version for m in maps)
        ):
            return False
        for number, part in enumerate(maps[0].partitions):
            node = self.nodes[part.primary]
            primary = node.driver.node.replicas[number].primary  # type: ignore[index]
            if primary is None or primary.epoch != part.epoch or not primary.may_execute:
                return False
        return all(node.driver.node.ready for node in self.nodes.values())

    @property
    def at_rest(self) -> bool:
        """Whether every node's store holds what its core believes."""
        return all(node.driver.at_rest for node in self.nodes.values())

    def submit(self, node: SimNode, request: Request) -> bool:
        """Put a request to a node; False if it takes none just now."""
        if not node.alive or not node.driver.serving or self.events.now < node.paused_until:
            return False
        node.driver.submit(request)
        return True

    # --- the network ----------------------------------------------------------------------------------

    def delay(self, sender: NodeId, receiver: NodeId) -> Millis:
        """How long a frame takes."""
        return self.random.randint(0, self.slowest_ms)

    def blocked(self, sender: NodeId, receiver: NodeId) -> bool:
        """Whether nothing gets from one to the other."""
        return (sender, receiver) in self._blocked

    def block(self, sender: NodeId, receiver: NodeId) -> None:
        """Let nothing through in this direction, until `heal`."""
        self._blocked.add((sender, receiver))

    def unblock(self, one: NodeId, other: NodeId) -> None:
        """Let everything through again between these two."""
        self._blocked -= {(one, other), (other, one)}

    def heal(self) -> None:
        """Let everything through again; connections that had stood blocked are reset."""
        for sender, receiver in sorted(self._blocked):
            if self.nodes[sender].alive and self.random.random() < 0.5:
                self.nodes[sender].network.reset(receiver)
        self._blocked.clear()

    def drop_links_of(self, gone: SimNode) -> None:
        """A process ended: its peers' connections to it break, and new ones are refused."""
        for node in self.nodes.values():
            if node.alive and node is not gone:
                node.network.reset(gone.id)

    def count(self, name: str, by: int = 1) -> None:
        """Count what was done to this world."""
        self.counters[name] += by


assert SIM_TICK_MS * 2 <= limits.HEARTBEAT_MS
