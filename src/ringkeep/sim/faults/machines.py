"""Faults of processes and disks: crashes, pauses, slow, full, failing and damaged disks."""

from collections.abc import Callable

from ringkeep.sim.attempts import FASTEST_CLOCK, SLOWEST_CLOCK
from ringkeep.sim.checks.invariants import Invariants
from ringkeep.sim.faults.crashes import Crashes
from ringkeep.sim.faults.period import FaultPeriod
from ringkeep.sim.faults.triggers import KINDS, Triggers
from ringkeep.sim.world.machine import NO_ROOM, PLENTY, SHORT_OF_ROOM
from ringkeep.sim.world.world import World


class MachineFaults:
    """Faults of single machines, and of all of them at once."""

    def __init__(
        self,
        world: World,
        period: FaultPeriod,
        crashes: Crashes,
        triggers: Triggers,
        invariants: Invariants,
    ) -> None:
        self._world = world
        self._period = period
        self._crashes = crashes
        self._triggers = triggers
        self._invariants = invariants
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            (4, self._crash),
            (1, self._crash_all),
            (3, self._pause),
            (2, self._slow_disk),
            (2, self._stall),
            (1, self._clock_rate),
            (10, self._trigger),
            (1, self._fail_flush),
            (1, self._damage),
            (1, self._full_disk),
            (1, self._hang),
        ]

    def _crash(self) -> None:
        self._crashes.crash(self._world.some_machine())

    def _crash_all(self) -> None:
        for node in list(self._world.nodes.values()):
            self._crashes.crash(node)

    def _fail_flush(self) -> None:
        """A disk fails to sync, which is final for the process."""
        node = self._world.some_machine()
        if node.alive:
            self._world.log(node, "will not be able to sync")
            node.engine.fail_flush()

    def _damage(self) -> None:
        """A power loss destroys durable data, of one node at a time and only where the others are
        complete."""
        world = self._world
        node = self._world.some_machine()
        whole = [other for other in world.nodes.values() if other is not node]
        if not node.alive or node.old_copy or any(not other.alive or other.lost for other in whole):
            return
        if not world.survives_without(node):
            return
        lost = world.random.randint(1, 20)
        world.log(node, f"loses its power, and {lost} synced batches with it")
        world.count("node_damaged")
        world.lose(node, lambda count: -min(lost, node.engine.losable))
        self._invariants.on_damage(node)
        self._crashes.bring_back(node)

    def _full_disk(self) -> None:
        """A disk has less room than the reserve, or none, briefly or so long that others must lead."""
        node, random = self._world.some_machine(), self._world.random
        node.free = random.choice((SHORT_OF_ROOM, NO_ROOM))
        self._world.log(node, f"has {node.free} bytes of room")

        def recover() -> None:
            node.free = PLENTY

        self._period.later(*random.choice(((300, 2_000), (4_000, 10_000))), recover)

    def _hang(self) -> None:
        """A disk accepts writes, and answers no sync for a long time."""
        node = self._world.some_machine()
        node.hangs = True
        self._world.log(node, "has a disk that answers no sync")

        def recover() -> None:
            node.hangs = False

        self._period.later(4_000, 10_000, recover)

    def _trigger(self) -> None:
        kind = self._world.random.choice(KINDS)
        self._triggers.set(kind)

    def _pause(self) -> None:
        node = self._world.some_machine()
        node.pause(self._world.events.now + self._world.random.randint(50, 2_500))
        self._world.log(node, f"pauses until {node.paused_until}")

    def _slow_disk(self) -> None:
        node = self._world.some_machine()
        node.fsync_ms = (20, 200)

        def recover() -> None:
            node.fsync_ms = (0, 2)

        self._period.later(100, 1_000, recover)

    def _stall(self) -> None:
        node = self._world.some_machine()
        if node.alive:
            node.engine.stall_next(self._world.random.randint(1, 20), shown=self._world.random.random() < 0.5)

    def _clock_rate(self) -> None:
        """Clocks run apart."""
        self._world.some_machine().set_rate(self._world.random.choice((SLOWEST_CLOCK, 1.0, FASTEST_CLOCK)))
