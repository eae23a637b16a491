"""What happens to processes and disks: crashes, pauses, slow, full, failing and damaged disks."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ringkeep.sim.faults.triggers import KINDS
from ringkeep.sim.world.machine import NO_ROOM, PLENTY, SHORT_OF_ROOM

if TYPE_CHECKING:
    from ringkeep.sim.faults.schedule import Faults
    from ringkeep.sim.world.machine import SimMachine
    from ringkeep.sim.world.world import World


class MachineFaults:
    """Faults of single machines, and of all of them at once."""

    def __init__(self, world: "World", faults: "Faults") -> None:
        self._world = world
        self._faults = faults
        world.traps.crash = self.crash_node
        world.traps.failed = self._disk_failed
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            (4, self._crash),
            (1, self._crash_all),
            (3, self._pause),
            (2, self._slow_disk),
            (2, self._stall),
            (1, self._clock_rate),
            (10, self._trap),
            (1, self._fail_flush),
            (1, self._damage),
            (1, self._full_disk),
            (1, self._hang),
        ]

    def _crash(self) -> None:
        self.crash_node(self._faults.any())

    def _crash_all(self) -> None:
        for node in list(self._world.nodes.values()):
            self.crash_node(node)

    def crash_node(self, node: "SimMachine") -> None:
        """A killed process keeps what it wrote; a power loss keeps any prefix of what was not synced."""
        if not node.alive:
            return
        world = self._world
        worst = world.random.random() < 0.5
        world.lose(node, lambda count: world.random.randint(0, count) if worst else count)
        world.log(node, "crashes, unsynced writes lost" if worst else "is killed")
        self._bring_back(node)

    def _bring_back(self, node: "SimMachine") -> None:
        """Most are back soon; some are away for so long that changes must go on without them."""
        if self._world.random.random() < 0.85:
            self._faults.later(20, 1_500, lambda: self.restart(node))
        else:
            self._faults.later(5_000, 8_000, lambda: self.restart(node))
        if self._faults.stopped:  # a trap that sprang as all was healed
            self._world.events.after(20, lambda: self.restart(node))

    def restart(self, node: "SimMachine") -> None:
        """Start a process on a machine that has none."""
        if not node.alive:
            self._world.log(node, "starts")
        node.start()

    def _fail_flush(self) -> None:
        """A disk fails to sync, which is final for the process."""
        node = self._faults.any()
        if node.alive:
            self._world.log(node, "will not be able to sync")
            node.engine.fail_flush()

    def _disk_failed(self, node: "SimMachine") -> None:
        self._world.lose(node, lambda count: self._world.random.randint(0, count))
        self._bring_back(node)

    def _damage(self) -> None:
        """A power loss takes away what was durable, of one node at a time and only where the others are
        whole."""
        world = self._world
        node = self._faults.any()
        whole = [other for other in world.nodes.values() if other is not node]
        if not node.alive or node.old_copy or any(not other.alive or other.lost for other in whole):
            return
        if not world.survives_without(node):
            return
        lost = world.random.randint(1, 20)
        world.log(node, f"loses its power, and {lost} synced batches with it")
        world.count("node_damaged")
        world.lose(node, lambda count: -min(lost, node.engine.losable))
        world.invariants.on_damage(node)
        self._bring_back(node)

    def _full_disk(self) -> None:
        """A disk has less room than the reserve, or none, for a while or so long that others must lead."""
        node, random = self._faults.any(), self._world.random
        node.free = random.choice((SHORT_OF_ROOM, NO_ROOM))
        self._world.log(node, f"has {node.free} bytes of room")

        def recover() -> None:
            node.free = PLENTY

        self._faults.later(*random.choice(((300, 2_000), (4_000, 10_000))), recover)

    def _hang(self) -> None:
        """A disk takes everything, and answers no sync for a long time."""
        node = self._faults.any()
        node.hangs = True
        self._world.log(node, "has a disk that answers no sync")

        def recover() -> None:
            node.hangs = False

        self._faults.later(4_000, 10_000, recover)

    def _trap(self) -> None:
        kind = self._world.random.choice(KINDS)
        self._world.traps.set(kind)

    def _pause(self) -> None:
        node = self._faults.any()
        node.paused_until = self._world.events.now + self._world.random.randint(50, 2_500)
        self._world.reasons.of_node(node.id, node.paused_until)
        self._world.log(node, f"pauses until {node.paused_until}")

    def _slow_disk(self) -> None:
        node = self._faults.any()
        node.fsync_ms = (20, 200)

        def recover() -> None:
            node.fsync_ms = (0, 2)

        self._faults.later(100, 1_000, recover)

    def _stall(self) -> None:
        node = self._faults.any()
        if node.alive:
            node.engine.stall_next(self._world.random.randint(1, 20), shown=self._world.random.random() < 0.5)

    def _clock_rate(self) -> None:
        """Clocks run apart."""
        self._faults.any().set_rate(self._world.random.choice((0.8, 1.0, 1.2)))
