"""Checks that a node calls the cluster healthy only when it is: compares the report with the disks.

A node's knowledge is a moment old, so it is compared with the past: nodes seen within LATE_MS, and entries
committed before that.
"""

from collections import deque
from typing import Final

from ringkeep.core.protocol.types import Millis, NodeId, PartitionId
from ringkeep.sim.checks.invariants import Invariants
from ringkeep.sim.errors import Violated
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World
from ringkeep.status.cluster_health import Health

LOOK_MS: Final = 300
LATE_MS: Final = 5_000
"""A silent node is suspected after 1 s, and a primary's last report counts for 2 s, by clocks that may be
slow."""


class HealthClaims:
    """Reads the health that all nodes report, periodically."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        self._past: deque[tuple[Millis, dict[PartitionId, int]]] = deque()  # commit indices at past times
        self._whole_at: dict[NodeId, Millis] = {}  # when a node was last seen alive with a complete disk

    def look(self) -> None:
        """Check now, and then periodically."""
        world = self._world
        committed = {number: log.last for number, log in self._invariants.committed.items()}
        self._past.append((world.events.now, committed))
        while len(self._past) > 1 and self._past[1][0] <= world.events.now - LATE_MS:
            self._past.popleft()
        for node in world.nodes.values():
            if node.alive and not node.engine.damaged:
                self._whole_at[node.id] = world.events.now
        for node in list(world.nodes.values()):
            if node.says() is Health.HEALTHY:
                world.count("said_healthy")
                self._check(node)
        world.events.after(LOOK_MS, self.look)

    def _check(self, node: SimMachine) -> None:
        world, cluster_map = self._world, node.driver.node.context.cluster_map
        assert cluster_map is not None
        then, committed = self._past[0]
        late = world.events.now - LATE_MS
        for number, part in enumerate(cluster_map.partitions):
            index = committed.get(PartitionId(number), 0)
            for voter in part.voters:
                there = self._whole_at.get(voter, -1) >= late
                if there and (not index or self._invariants.holds(voter, PartitionId(number), index)):
                    continue
                lacks = f"lacks entry {index}, committed at {then}" if there else "is not there"
                raise Violated(
                    f"{world.events.now} {node.name}: says healthy, and of partition {number} voter"
                    f" {voter[:8]} {lacks}"
                )
