"""One machine of the simulated world: its disk and identity outlive its processes, and may be replaced.

A process here is the real driver and core, over the memory ports. It can end in the middle of a turn, at a
place that a watcher chose.
"""

from collections.abc import Callable, Sequence

from ringkeep.admission import Claim
from ringkeep.coordination.memory import MemoryCoordination
from ringkeep.core.cluster import feature_level
from ringkeep.core.node import Node
from ringkeep.core.protocol.cluster_map import ClusterMap, Member
from ringkeep.core.protocol.effects import Batch
from ringkeep.core.protocol.messages import Message
from ringkeep.core.protocol.types import Incarnation, MapVersion, Millis, NodeId
from ringkeep.driver.cluster_membership import ClusterMembership
from ringkeep.driver.enrolment import Start
from ringkeep.driver.turns import Driver
from ringkeep.ports import Ending, Ports
from ringkeep.sim.world.disk_copy import DiskCopy
from ringkeep.sim.world.environment import Environment
from ringkeep.sim.world.events import Call
from ringkeep.sim.world.network import SimNetwork
from ringkeep.sim.world.syncer import SimSyncer
from ringkeep.status.cluster_health import Health, Judge, health_of
from ringkeep.status.move_history import MoveHistory
from ringkeep.storage.memory import MemoryEngine
from ringkeep.wire import mapcodec

SESSION_MS = 2_000
SIM_TICK_MS = 50
RESERVE = 1 << 20
PLENTY, SHORT_OF_ROOM, NO_ROOM = 1 << 40, RESERVE // 2, 0  # bytes free on a disk


class Died(BaseException):
    """The process ends here, in the middle of its turn. No code of the product may catch it."""


class Watcher:
    """Receives the events of the machines and of the map. Each kind of watcher overrides what it needs."""

    def on_begin(self) -> None:
        """The machines are about to start."""

    def on_start(self, node: "SimMachine") -> None:
        """A process starts, and has done nothing yet."""

    def on_write(self, node: "SimMachine", ticket: int, batch: Batch) -> None:
        """A batch was written; it is not durable yet, and nothing of its turn was sent."""

    def on_send(self, node: "SimMachine", messages: list[Message]) -> None:
        """A frame is about to leave."""

    def on_durable(self, node: "SimMachine", ticket: int) -> None:
        """Everything up to this batch is durable."""

    def on_tick(self, node: "SimMachine") -> None:
        """A process has just had its tick."""

    def after_turn(self, node: "SimMachine") -> None:
        """The effects of a turn were carried out."""

    def on_died(self, node: "SimMachine") -> None:
        """A watcher has ended a process in the middle of its turn, which nobody may hear of."""

    def on_stop(self, node: "SimMachine", ending: Ending) -> None:
        """A process ends itself."""

    def on_lost(self, node: "SimMachine") -> None:
        """A process has ended at once."""

    def on_damage_found(self, node: "SimMachine") -> None:
        """A process has noticed that its disk lost something."""

    def on_proposal(self, node: "SimMachine") -> None:
        """A controller proposes a map."""

    def on_map(self, before: ClusterMap | None, after: ClusterMap) -> None:
        """The cluster has a new map."""


class SimMachine:
    """A machine with one disk, and on it, at times, a process.

    `machines`: all of them, itself included, by the node id that each has now. `on_stop`: called when a
    process ends itself. `absent_until`: the last time at which its process could not be heard: none ran, or
    it was paused.
    """

    def __init__(
        self,
        env: Environment,
        machines: "dict[NodeId, SimMachine]",
        watchers: Sequence[Watcher],
        name: str,
        on_stop: "Callable[[SimMachine, Ending], None]",
    ) -> None:
        self.env = env
        self.name = name
        self.on_stop = on_stop
        self._watchers = watchers
        self._machines = machines
        self.alive = False
        self.births = 0  # processes so far, over all disks: events of one must not reach another
        self.paused_until: Millis = 0
        self._held: list[tuple[int, Call]] = []  # events that came during a pause, in order
        self._rate = 1.0
        self._read_at: tuple[Millis, Millis] = (0, 0)  # when the rate was set, and the clock's time then
        self.fsync_ms: tuple[Millis, Millis] = (0, 2)
        self.free = PLENTY
        self.hangs = False  # a sync has no answer
        self.driver: Driver
        self.network: SimNetwork
        self.coordination: MemoryCoordination
        self.life: SimShell
        self.wipe()

    def wipe(self) -> None:
        """Put an empty disk in: the next process here is a new node."""
        assert not self.alive, "no process runs without its disk"
        self.id = self.env.new_id()
        self.incarnation = Incarnation(0)
        self.cluster_id = ""
        self.claims: Sequence[Claim] = ()
        self.old_copy = False
        """Whether the disk holds less than it once did, and nobody has noticed."""
        self.beyond_mark = False
        """Whether that must be noticed before a process on it gives any vote."""
        self.absent_until = self.env.events.now
        self.engine = MemoryEngine()

    def copy_disk(self) -> DiskCopy:
        """Copy the disk, even while a process runs."""
        return DiskCopy(self.id, self.incarnation, self.cluster_id, self.claims, self.engine.copy())

    def put_back(self, disk: DiskCopy, beyond_mark: bool) -> None:
        """Give the machine an older copy of its disk."""
        assert not self.alive and disk.id == self.id
        self.incarnation, self.cluster_id, self.claims = disk.incarnation, disk.cluster_id, disk.claims
        self.engine = disk.engine
        self.old_copy, self.beyond_mark = True, beyond_mark

    @property
    def is_older(self) -> bool:
        """Whether the process here is of an older version: each is updated as it is restarted."""
        return self.env.older_at_first and self.births <= 1

    @property
    def lost(self) -> bool:
        """Whether durable data was lost here that other nodes may still count on."""
        return self.old_copy or self.engine.damaged

    # --- life -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a process on this machine, unless one runs already."""
        if self.alive:
            return
        env = self.env
        self.incarnation = Incarnation(self.incarnation + 1)
        self.births += 1
        self.alive = True
        self.absent_until = max(self.absent_until, env.events.now)
        self.life = SimShell(self)
        node = Node(
            self.id, self.incarnation, self.engine, mapcodec, "sim", f"{env.seed:032x}", self.now(),
            env.bounds, MoveHistory(),
        )  # fmt: skip
        node.context.damaged = self.engine.damaged
        member = Member(
            self.id, self.name, f"{self.name}:http", f"{self.name}:peer", self.name, 1, env.expect,
            env.replication, env.partitions, self.incarnation, MapVersion(0), self.cluster_id,
            feature_level=feature_level.FIRST if self.is_older else feature_level.NEWEST,
        )  # fmt: skip
        self.network = SimNetwork(env, self._machines, self, self._on_send)
        late = _MembershipToBe()
        self.coordination = MemoryCoordination(env.service, late, self._coordinate, SESSION_MS)  # type: ignore[arg-type]
        syncer = SimSyncer(env, self, self.engine, self._on_durable)
        ports = Ports(self.engine, syncer, self.network, self.coordination, self, self.life, mapcodec)
        start = Start(f"{self.name}-{self.births}", self.claims)
        self.driver = Driver(node, ports, member, RESERVE, start)
        late.sink = self.driver.membership
        self._judge = Judge(node)
        self._watch()
        self.coordination.start()
        self._tick(self.births)

    def _watch(self) -> None:
        """Let the watchers see what this process writes and proposes."""
        engine, watchers = self.engine, self._watchers
        for watcher in watchers:
            watcher.on_start(self)
        write = engine.write

        def watched(batch: Batch) -> int:
            ticket = write(batch)
            for watcher in watchers:
                watcher.on_write(self, ticket, batch)
            return ticket

        engine.write = watched  # type: ignore[method-assign]
        record = engine.record_damage

        def recorded(what: str) -> None:
            record(what)
            self.env.count("old_copy_found", self.old_copy)
            self.old_copy = self.beyond_mark = False
            for watcher in watchers:
                watcher.on_damage_found(self)

        engine.record_damage = recorded  # type: ignore[method-assign]
        propose = self.coordination.write_map

        def proposed(expected: int, payload: bytes) -> None:
            for watcher in watchers:
                watcher.on_proposal(self)
            propose(expected, payload)

        self.coordination.write_map = proposed  # type: ignore[method-assign]

    def _on_send(self, messages: list[Message]) -> None:
        for watcher in self._watchers:
            watcher.on_send(self, messages)

    def _on_durable(self, ticket: int) -> None:
        for watcher in self._watchers:
            watcher.on_durable(self, ticket)

    def says(self) -> Health | None:
        """Return the cluster's health as the node reports it; None if it can report nothing at present."""
        if not self.alive or self.env.events.now < self.paused_until:
            return None
        return health_of(self._judge.reasons(self.driver.node.controller.connected, self.now()))

    def pause(self, until: Millis) -> None:
        """Pause the process until then."""
        self.paused_until = until
        self.absent_until = max(self.absent_until, until)

    def crash(self, keep: Callable[[int], int]) -> None:
        """End the process at once; of what was not synced, a prefix of `keep(count)` batches survives."""
        self.alive = False
        self.driver.halt()
        self.network.over = True
        coordination = self.coordination
        coordination.crash()
        self.env.events.after(SESSION_MS, coordination.expire)
        self.engine.crash(keep)
        self.engine = self.engine.reopen()
        self.absent_until = max(self.absent_until, self.env.events.now)
        self._drop_links()

    def leave(self) -> None:
        """End the process in good order: its registration goes with it."""
        self.alive = False
        self.driver.halt()
        self.network.over = True
        self.coordination.stop()
        self.engine.close()
        self._drop_links()

    def _drop_links(self) -> None:
        """The process has ended: its peers' connections to it break, and new ones are refused."""
        for node in self._machines.values():
            if node.alive and node is not self:
                node.network.reset(self.id)

    def deliver(self, call: Call) -> None:
        """Run an event of this process, unless it has ended by then; a paused one runs it later."""
        self._run(self.births, call)

    def _run(self, life: int, call: Call) -> None:
        if not self.alive or self.births != life:
            return
        if self._held or self.env.events.now < self.paused_until:
            self._held.append((life, call))
            if len(self._held) == 1:
                self._wake()
            return
        self._guarded(call)

    def _guarded(self, call: Call) -> None:
        try:
            call()
        except Died:
            if self.alive:
                for watcher in self._watchers:
                    watcher.on_died(self)

    def _wake(self) -> None:
        """Run the events of a pause once it is over, before all later ones."""
        events = self.env.events
        if events.now < self.paused_until:
            events.at(self.paused_until, self._wake)
            return
        held, self._held = self._held, []
        for life, call in held:
            if self.alive and self.births == life:
                self._guarded(call)

    def _coordinate(self, call: Call) -> None:
        """Messages to and from the coordination service take a moment, and keep their order."""
        env = self.env
        when = max(self.life.coordinated, env.events.now + env.draw(0, 3))
        self.life.coordinated = when
        env.events.at(when, call)

    def _tick(self, life: int) -> None:
        if self.alive and self.births == life:
            self.env.events.after(SIM_TICK_MS, lambda: self._tick(life))
            if self.env.events.now >= self.paused_until:
                self._guarded(self.driver.tick)
                if self.alive:
                    for watcher in self._watchers:
                        watcher.on_tick(self)

    def end_turn(self, call: Call) -> None:
        """Carry out the effects of a turn, then call the watchers."""
        before = self.driver.node.context.counters.copy() if self.env.traced else {}
        self._guarded(call)
        if self.alive:
            for watcher in self._watchers:
                watcher.after_turn(self)
        for name, count in self.driver.node.context.counters.items() if self.env.traced else ():
            if count != before.get(name, 0):
                self.env.log(self, name.replace("_", " "))

    def now(self) -> Millis:
        """This machine's clock: monotonic, but not at the rate of others."""
        since, then = self._read_at
        return then + int((self.env.events.now - since) * self._rate)

    def set_rate(self, rate: float) -> None:
        """Change the clock's rate; it continues from its present time."""
        self._read_at = self.env.events.now, self.now()
        self._rate = rate


class _MembershipToBe:
    """Stands for the driver's membership until it is made; a dead process hears nothing."""

    sink: ClusterMembership

    def __getattr__(self, name: str) -> object:
        return getattr(self.sink, name)


class SimShell:
    """The driver's shell for one life."""

    def __init__(self, node: SimMachine) -> None:
        self._node = node
        self._life = node.births
        self.coordinated: Millis = 0
        self.stopped = ""

    def soon(self, call: Call) -> None:
        node = self._node
        node.env.events.at(node.env.events.now, lambda: self._finish(call), last=True)

    def _finish(self, call: Call) -> None:
        node = self._node
        if node.alive and node.births == self._life:
            node.end_turn(call)

    def later(self, delay_ms: Millis, call: Call) -> None:
        node, life = self._node, self._life
        node.env.events.after(delay_ms, lambda: node._run(life, call))

    def joined(self, cluster_id: str) -> None:
        self._node.cluster_id = cluster_id

    def claiming(self, claims: Sequence[Claim]) -> None:
        self._node.claims = claims

    def superseded(self) -> None:
        raise AssertionError(f"{self._node.name} is no old copy")

    def departed(self) -> None:
        """Its machine gets another disk."""

    def alarm(self, text: str) -> None:
        self._node.env.log(self._node, f"alarm: {text}")
        assert "forked" not in text and "two cluster maps" not in text, text
        assert "fails its checksum" not in text, text

    def stop(self, reason: str, ending: Ending) -> None:
        self.stopped = reason
        self._node.env.log(self._node, f"stops: {reason}")
        self._node.on_stop(self._node, ending)

    def disk_free(self) -> tuple[int, int]:
        return self._node.free, self._node.env.events.now
