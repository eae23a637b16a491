"""One machine of the simulated world: its disk and identity outlive its processes, and may be replaced.

A process here is the real driver and core, over the memory ports. It can end in the middle of a turn, at a
place that a trap chose (`traps.py`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ringkeep.coordination.memory import MemoryCoordination
from ringkeep.core.cluster.admission import Claim
from ringkeep.core.node import Node
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.core.protocol.effects import Batch
from ringkeep.core.protocol.types import Incarnation, MapVersion, Millis
from ringkeep.driver.enrolment import Start
from ringkeep.driver.turns import Driver
from ringkeep.errors import StorageError
from ringkeep.ports import Ending, Ports
from ringkeep.sim.checks.disk_rules import DiskRules
from ringkeep.sim.world.events import Call
from ringkeep.sim.world.network import SimNetwork
from ringkeep.storage.memory import MemoryEngine
from ringkeep.wire import mapcodec

if TYPE_CHECKING:
    from ringkeep.sim.faults.disk_copies import DiskCopy
    from ringkeep.sim.world.world import World

SESSION_MS = 2_000
SIM_TICK_MS = 50
RESERVE = 1 << 20
PLENTY, SHORT_OF_ROOM, NO_ROOM = 1 << 40, RESERVE // 2, 0  # bytes free on a disk
LOOK_AGAIN_MS = 50  # whether a disk that hangs answers again


class Died(BaseException):
    """The process ends here, in the middle of its turn. No code of the product may catch it."""


class SimMachine:
    """A machine with one disk, and on it, at times, a process."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.alive = False
        self.births = 0  # processes so far, over all disks: what one of them had begun must not reach another
        self.paused_until: Millis = 0
        self._held: list[tuple[int, Call]] = []  # what came while paused, in its order
        self._rate = 1.0
        self._read_at: tuple[Millis, Millis] = (0, 0)  # when the rate was set, and what the clock said then
        self.fsync_ms = (0, 2)
        self.free = PLENTY
        self.hangs = False  # a sync has no answer
        self.driver: Driver
        self.network: SimNetwork
        self.coordination: MemoryCoordination
        self.wipe()

    def wipe(self) -> None:
        """Put an empty disk in: what starts here next is a new node."""
        assert not self.alive, "no process runs without its disk"
        self.id = self.world.new_id()
        self.incarnation = Incarnation(0)
        self.cluster_id = ""
        self.claims: Sequence[Claim] = ()
        self.old_copy = False
        """Whether the disk holds less than it once did, and nobody has noticed."""
        self.beyond_mark = False
        """Whether that must be noticed before a process on it gives any vote."""
        self.engine = MemoryEngine()

    def put_back(self, disk: "DiskCopy", beyond_mark: bool) -> None:
        """Give the machine an older copy of its disk."""
        assert not self.alive and disk.id == self.id
        self.incarnation, self.cluster_id, self.claims = disk.incarnation, disk.cluster_id, disk.claims
        self.engine = disk.engine
        self.old_copy, self.beyond_mark = True, beyond_mark

    @property
    def lost(self) -> bool:
        """Whether something durable is gone from here that may yet be counted on."""
        return self.old_copy or self.engine.damaged

    # --- life -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a process on this machine, unless one runs already."""
        if self.alive:
            return
        world = self.world
        self.incarnation = Incarnation(self.incarnation + 1)
        self.births += 1
        self.alive = True
        world.reasons.of_node(self.id)
        self.life = SimShell(self)
        node = Node(
            self.id, self.incarnation, self.engine, mapcodec, "sim", f"{world.seed:032x}", self.now(),
            world.bounds,
        )  # fmt: skip
        node.context.damaged = self.engine.damaged
        member = Member(
            self.id, self.name, f"{self.name}:http", f"{self.name}:peer", self.name, 1, world.expect,
            world.replication, world.partitions, self.incarnation, MapVersion(0), self.cluster_id,
        )  # fmt: skip
        self.network = SimNetwork(world, self)
        late = _Events()
        self.coordination = MemoryCoordination(world.service, late, self._coordinate, SESSION_MS)  # type: ignore[arg-type]
        syncer = SimSyncer(self, self.engine)
        ports = Ports(self.engine, syncer, self.network, self.coordination, self, self.life, mapcodec)
        start = Start(f"{self.name}-{self.births}", self.claims)
        self.driver = late.sink = Driver(node, ports, member, RESERVE, start)
        self.rules = DiskRules(self)
        self._watch()
        self.coordination.start()
        self._tick(self.births)

    def _watch(self) -> None:
        """Let the invariants and the traps see what this process writes."""
        world, engine = self.world, self.engine
        world.invariants.on_start(self)
        write = engine.write

        def watched(batch: Batch) -> int:
            ticket = write(batch)
            world.invariants.on_write(self, ticket, batch)
            self.rules.on_write(batch)
            world.traps.on_write(self, batch)
            return ticket

        engine.write = watched  # type: ignore[method-assign]
        record = engine.record_damage

        def recorded(what: str) -> None:
            record(what)
            world.count("old_copy_found", self.old_copy)
            self.old_copy = self.beyond_mark = False
            world.invariants.on_old_copy(self, ())

        engine.record_damage = recorded  # type: ignore[method-assign]
        propose = self.coordination.write_map

        def counted(expected: int, payload: bytes) -> None:
            world.on_proposal(self)
            propose(expected, payload)

        self.coordination.write_map = counted  # type: ignore[method-assign]

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

    def leave(self) -> None:
        """End the process in good order: its registration goes with it."""
        self.alive = False
        self.driver.halt()
        self.network.over = True
        self.coordination.stop()
        self.engine.close()
        self.world.drop_links_of(self)

    def deliver(self, call: Call) -> None:
        """Run an event of this process, unless it is gone by then; a paused one runs it later."""
        self._run(self.births, call)

    def _run(self, life: int, call: Call) -> None:
        if not self.alive or self.births != life:
            return
        if self._held or self.world.events.now < self.paused_until:
            self._held.append((life, call))
            if len(self._held) == 1:
                self._wake()
            return
        self._guarded(call)

    def _guarded(self, call: Call) -> None:
        try:
            call()
        except Died:
            self.world.on_died(self)

    def _wake(self) -> None:
        """Take what came during a pause, once it is over; nothing that comes later overtakes it."""
        events = self.world.events
        if events.now < self.paused_until:
            events.at(self.paused_until, self._wake)
            return
        held, self._held = self._held, []
        for life, call in held:
            if self.alive and self.births == life:
                self._guarded(call)

    def _coordinate(self, call: Call) -> None:
        """Messages to and from the coordination service take a moment, and keep their order."""
        world = self.world
        when = max(getattr(self.life, "coordinated", 0), world.events.now + world.draw(0, 3))
        self.life.coordinated = when
        world.events.at(when, call)

    def _tick(self, life: int) -> None:
        if self.alive and self.births == life:
            self.world.events.after(SIM_TICK_MS, lambda: self._tick(life))
            if self.world.events.now >= self.paused_until:
                self._guarded(self.driver.tick)
                if self.alive:
                    self.rules.on_tick(SIM_TICK_MS)

    def end_turn(self, call: Call) -> None:
        """Carry out what a turn has led to, and look at what became of it."""
        before = self.driver.node.context.counters.copy() if self.world.traced else {}
        self._guarded(call)
        if self.alive:
            self.world.invariants.after_turn(self)
            self.rules.after_turn()
        for name, count in self.driver.node.context.counters.items() if self.world.traced else ():
            if count != before.get(name, 0):
                self.world.log(self, name.replace("_", " "))

    def now(self) -> Millis:
        """This machine's clock: it only goes forward, but not at the pace of others."""
        since, then = self._read_at
        return then + int((self.world.events.now - since) * self._rate)

    def set_rate(self, rate: float) -> None:
        """Let the clock go on from where it is at another pace."""
        self._read_at = self.world.events.now, self.now()
        self._rate = rate


class _Events:
    """Stands for the driver until it is made; a dead process hears nothing."""

    sink: Driver

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
        node.world.events.at(node.world.events.now, lambda: self._finish(call), last=True)

    def _finish(self, call: Call) -> None:
        node = self._node
        if node.alive and node.births == self._life:
            node.end_turn(call)

    def later(self, delay_ms: Millis, call: Call) -> None:
        node, life = self._node, self._life
        node.world.events.after(delay_ms, lambda: node._run(life, call))

    def joined(self, cluster_id: str) -> None:
        self._node.cluster_id = cluster_id

    def claiming(self, claims: Sequence[Claim]) -> None:
        self._node.claims = claims

    def superseded(self) -> None:
        raise AssertionError(f"{self._node.name} is no old copy")

    def departed(self) -> None:
        """Its machine gets another disk."""

    def alarm(self, text: str) -> None:
        self._node.world.log(self._node, f"alarm: {text}")
        assert "forked" not in text and "two cluster maps" not in text, text
        assert "fails its checksum" not in text, text

    def stop(self, reason: str, ending: Ending) -> None:
        self.stopped = reason
        self._node.world.log(self._node, f"stops: {reason}")
        self._node.world.on_stop(self._node, ending)

    def disk_free(self) -> tuple[int, int]:
        return self._node.free, self._node.world.events.now


class SimSyncer:
    """Group commit with one flush at a time, taking a while."""

    def __init__(self, node: SimMachine, engine: MemoryEngine) -> None:
        self._node = node
        self._engine = engine
        self._life = node.births
        self._asked = 0
        self._busy = False

    def request(self, ticket: int) -> None:
        self._asked = ticket
        if not self._busy:
            self._flush()

    def _flush(self) -> None:
        self._busy = True
        covered = self._engine.written
        delay = self._node.world.draw(*self._node.fsync_ms)
        self._node.world.events.after(delay, lambda: self._done(covered))

    def _done(self, covered: int) -> None:
        node = self._node
        if not node.alive or node.births != self._life:
            return
        if node.hangs:
            node.world.events.after(LOOK_AGAIN_MS, lambda: self._done(covered))
            return
        try:
            self._engine.make_durable(covered)
        except StorageError as error:
            node.deliver(partial(node.driver.disk_failed, error))
            return
        self._busy = False
        node.world.invariants.on_durable(node, covered)
        node.deliver(lambda: node.driver.synced(covered))
        if self._asked > covered:
            self._flush()
