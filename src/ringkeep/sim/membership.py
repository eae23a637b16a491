"""Nodes that come, go, and are given up, while everything else goes wrong too."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ringkeep.core import limits
from ringkeep.core.changes import holds_data
from ringkeep.core.clustermap import NodeState

if TYPE_CHECKING:
    from ringkeep.sim.faults import Faults
    from ringkeep.sim.machine import SimNode
    from ringkeep.sim.world import World

MOST_NODES = 6


class Membership:
    """What operators do to a cluster: add machines, decommission nodes, give up the lost ones."""

    def __init__(self, world: "World", faults: "Faults") -> None:
        self._world = world
        self._faults = faults
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            (3, self._join),
            (3, self._leave),
            (2, self._give_up),
        ]

    def _join(self) -> None:
        """A new machine is put up, and its process asks to join."""
        world = self._world
        if len(world.nodes) < MOST_NODES:
            node = world.add_machine()
            world.log(node, "is a new machine")
            world.events.after(world.random.randint(0, 50), node.start)

    def _leave(self) -> None:
        """A node is to be moved away from, and then to stop; its machine comes back as another node."""
        node = self._candidate()
        if node is not None:
            self._order(node, NodeState.LEAVING)

    def _give_up(self) -> None:
        """A node is lost, and an operator says so; when its machine is back it is told, and begins anew."""
        node = self._candidate()
        if node is not None:
            self._faults.machines.crash_node(node)
            self._world.given_up[node.id] = self._world.events.now + limits.MAX_TIMEOUT_MS + 1_000
            self._order(node, NodeState.DEAD)

    def _candidate(self) -> "SimNode | None":
        """Return a node that the cluster can do without, or None."""
        world = self._world
        if world.map is None:
            return None
        staying = [node.id for node in world.map.nodes if holds_data(node.state)]
        up = [node for node in staying if node in world.nodes and world.nodes[node].alive]
        if len(staying) <= world.replication or len(up) < len(staying):
            return None
        node = world.nodes[world.random.choice(staying)]
        return node if world.survives_without(node) else None

    def _order(self, node: "SimNode", state: NodeState) -> None:
        world = self._world
        others = [other for other in world.nodes.values() if other is not node and other.alive]
        if others:
            world.log(node, f"is ordered to be {state}")
            world.random.choice(others).driver.node.steward.order(node.id, state)
