"""In a world that begins with nodes of an older version, all of them are restarted with this one in time."""

from typing import Final

from ringkeep.core.cluster.feature_level import OPERATIONS, feature_level
from ringkeep.sim.faults.crashes import Crashes
from ringkeep.sim.faults.period import FaultPeriod
from ringkeep.sim.world.world import World

FIRST_MS: Final = (200, 4_000)
NEXT_MS: Final = (100, 1_500)


class Updates:
    """Restarts machines that still run the older version, one after the other."""

    def __init__(self, world: World, period: FaultPeriod, crashes: Crashes) -> None:
        self._world = world
        self._period = period
        self._crashes = crashes
        if world.older_at_first:
            period.later(*FIRST_MS, self._next)

    @property
    def done(self) -> bool:
        """Whether the cluster uses what this version speaks."""
        return self._world.map is not None and feature_level(self._world.map) >= OPERATIONS

    def _next(self) -> None:
        older = [node for node in self._world.nodes.values() if node.alive and node.is_older]
        if older:
            node = self._world.random.choice(older)
            self._world.log(node, "is updated")
            self._world.count("node_updated")
            self._crashes.crash(node)
        self._period.later(*NEXT_MS, self._next)
