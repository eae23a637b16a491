"""Crashes and restarts of processes."""

from ringkeep.sim.faults.period import FaultPeriod
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World


class Crashes:
    """Ends processes, and brings them back while the faults last and after."""

    def __init__(self, world: World, period: FaultPeriod) -> None:
        self._world = world
        self._period = period

    def crash(self, node: SimMachine) -> None:
        """A killed process keeps what it wrote; a power loss keeps any prefix of what was not synced."""
        if not node.alive:
            return
        world = self._world
        worst = world.random.random() < 0.5
        world.lose(node, lambda count: world.random.randint(0, count) if worst else count)
        world.log(node, "crashes, unsynced writes lost" if worst else "is killed")
        self.bring_back(node)

    def bring_back(self, node: SimMachine) -> None:
        """Restart a process: most soon, some so late that changes must continue without them."""
        if self._world.random.random() < 0.85:
            self._period.later(20, 1_500, lambda: self.restart(node))
        else:
            self._period.later(5_000, 8_000, lambda: self.restart(node))
        if self._period.over:  # a trigger fired while everything was being healed
            self._world.events.after(20, lambda: self.restart(node))

    def restart(self, node: SimMachine) -> None:
        """Start a process on a machine that has none."""
        if not node.alive:
            self._world.log(node, "starts")
        node.start()

    def disk_failed(self, node: SimMachine) -> None:
        """A process has ended itself because its disk failed; unsynced data may be lost."""
        if not node.alive:
            return
        self._world.lose(node, lambda count: self._world.random.randint(0, count))
        self.bring_back(node)
