"""Permanent losses of disks, and an operator who recovers partitions after them.

Some worlds lose a majority of a partition's disks. The operator names the machines that are really lost, and
repeats the order to recover everything that some node finds lost, through any node. It does so even where
nothing is lost and a part of the cluster is only cut off: then the order must be refused. Only the accepted
loss may be missing from the history.
"""

from typing import Final

from ringkeep.core.cluster import quorum_loss
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.replica_changes import holds_data
from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.types import NodeId
from ringkeep.sim.world.world import World

SAY_AGAIN_MS: Final = 500
FIRST_MS: Final = (100, 2_500)
CUT_OFF_MS: Final = (3_000, 6_000)


def loses(seed: int) -> bool:
    """Return whether this seed's world has permanent losses; it has three nodes, or five."""
    return seed % 16 in (5, 12)


class DiskLosses:
    """The permanent losses of one world, and its operator."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.struck = not loses(world.seed)
        if not self.struck:
            begin = self._cut_off if world.random.random() < 0.5 else self._lose
            world.events.after(world.random.randint(*FIRST_MS), begin)
            world.events.after(world.random.randint(*FIRST_MS), self._operate)

    def _cut_off(self) -> None:
        """A node hears no other, and all the others' sessions have expired: to it they seem lost."""
        world = self._world
        started = [node for node in world.nodes.values() if node.births]
        alone = world.random.choice(started)
        world.log(alone, "is cut off, and the only one that is registered")
        world.count("cut_off_alone")
        for other in world.nodes.values():
            if other is not alone:
                world.block(alone.id, other.id)
                world.block(other.id, alone.id)
            if other is not alone and other.births:
                other.coordination.disconnect()
                other.coordination.expire()
        world.events.after(world.random.randint(*CUT_OFF_MS), lambda: self._mend(alone.id))

    def _mend(self, alone: NodeId) -> None:
        world = self._world
        for other in world.nodes.values():
            world.unblock(alone, other.id)
            if other.alive:
                other.coordination.connect()
        world.events.after(world.random.randint(*FIRST_MS), self._lose)

    def _lose(self) -> None:
        """Destroy a majority of some partition's disks, or all of its voters'; at least one node is
        spared."""
        world = self._world
        assert world.map is not None, "the cluster was formed before anything struck"
        spared = [n.id for n in world.map.nodes if holds_data(n.state) and n.id in world.nodes]
        if not spared:
            world.events.after(SAY_AGAIN_MS, self._lose)
            return
        kept = world.random.choice(spared)
        part = world.random.choice(world.map.partitions)
        voters = [node for node in quorum_loss.voters_of(part) if node in world.nodes and node != kept]
        world.random.shuffle(voters)
        fewest = min(quorum.majority(len(part.voters)), len(voters))
        gone = voters[: world.random.randint(fewest, len(voters))]
        for node in [world.nodes[each] for each in gone]:
            if node.alive:
                world.lose(node, lambda count: count)
            world.log(node, "is lost for good")
            world.swap_disk(node)
        world.count("majority_lost")
        self.struck = True

    # --- the operator ---------------------------------------------------------------------------------

    def _operate(self) -> None:
        """Order, through some node, the recovery of everything it finds lost; name only nodes that are really
        lost."""
        world = self._world
        world.events.after(SAY_AGAIN_MS, self._operate)
        alive = [node for node in world.nodes.values() if node.alive]
        if not alive or world.map is None:
            return
        node = world.random.choice(alive)
        cluster_map, controller = node.driver.node.context.cluster_map, node.driver.node.controller
        if cluster_map is None:
            return
        lost = [
            number
            for number, p in enumerate(cluster_map.partitions)
            if quorum_loss.is_lost(p, controller.reachability)
        ]
        for number in lost:
            world.count("recovery_ordered")
            controller.order((str(number), Verb.RECOVER, cluster_map.partitions[number].epoch))
        for each in gone_of(world, cluster_map) if lost else ():
            controller.order((each, Verb.LOST, 0))


def gone_of(world: World, cluster_map: ClusterMap) -> list[NodeId]:
    """Return the nodes of a map whose disks are destroyed."""
    return [n.id for n in cluster_map.nodes if n.id not in world.nodes and n.state != NodeState.DEAD]
