"""Permanent losses of disks, and an operator who recovers partitions after them.

Some worlds lose a majority of a partition's disks. The operator names the machines that are really lost, and
repeats the order to recover everything that some node finds lost, through any node. It does so even where
nothing is lost and a part of the cluster is only cut off: then the order must be refused. Only the accepted
loss may be missing from the history.

In some of these worlds the loss waits for a move: a learner, or a former holder that was not released yet,
then has the best copy, or an older one; and who has it may not be able to tell everybody.
"""

from functools import partial
from typing import Final

from ringkeep.core.cluster import quorum_loss
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.cluster.replica_changes import holds_data
from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState, Partition
from ringkeep.core.protocol.types import NodeId
from ringkeep.sim.world.world import World

SAY_AGAIN_MS: Final = 500
FIRST_MS: Final = (100, 2_500)
CUT_OFF_MS: Final = (3_000, 6_000)
LOOK_MS: Final = 20
MOVES_WITHIN_MS: Final = 8_000
"""In worlds where the loss waits for a move, it waits no longer."""


def loses(seed: int) -> bool:
    """Return whether this seed's world has permanent losses; it has three nodes, or five."""
    return seed % 16 in (5, 12) or loses_in_a_move(seed)


def loses_in_a_move(seed: int) -> bool:
    """Return whether this seed's world, of five nodes, loses disks as a partition moves."""
    return seed % 16 == 8


class DiskLosses:
    """The permanent losses of one world, and its operator."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.struck = not loses(world.seed)
        if not self.struck:
            begin = self._cut_off if world.random.random() < 0.5 else self._lose
            if loses_in_a_move(world.seed):
                begin = self._move
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

    def _move(self) -> None:
        """Make partitions move, and wait until one does."""
        world = self._world
        assert world.map is not None, "the cluster was formed before anything struck"
        alive = [node for node in world.nodes.values() if node.alive]
        leaving = world.random.choice(world.map.nodes)
        if alive:
            world.random.choice(alive).driver.node.controller.order((leaving.id, Verb.DECOMMISSION, 0))
        self._lose_in_a_move(world.events.now + MOVES_WITHIN_MS)

    def _lose_in_a_move(self, until: int) -> None:
        """Destroy voters as soon as a node that has no vote holds a copy; that one is spared."""
        world = self._world
        copies = [
            (node.id, number)
            for node in world.nodes.values()
            if node.alive
            for number, replica in node.driver.node.replicas.items()
            if replica.log.last_index and self._has_no_vote(node.id, number)
        ]
        if not copies and world.events.now < until:
            world.events.after(LOOK_MS, lambda: self._lose_in_a_move(until))
        elif not copies or world.map is None:
            self._lose()
        else:
            kept, number = world.random.choice(copies)
            world.count("lost_in_a_move")
            self._destroy(world.map.partitions[number], kept)
            self._silence(kept)

    def _silence(self, kept: NodeId) -> None:
        """Perhaps cut a node off from another for a while: a third passes heartbeats on, and not what they
        report of their copies."""
        world = self._world
        assert world.map is not None, "a move is a change of the map"
        others = [n.id for n in world.map.nodes if n.id in world.nodes and n.id != kept]
        if len(others) < 2 or world.random.random() < 0.3:
            return
        for other in world.random.sample(others, world.random.randint(1, len(others) - 1)):
            world.log(world.nodes[kept], f"and {world.nodes[other].name} lose each other")
            world.block(kept, other)
            world.block(other, kept)
            world.events.after(world.random.randint(*CUT_OFF_MS), partial(world.unblock, kept, other))

    def _has_no_vote(self, node: NodeId, number: int) -> bool:
        current = self._world.map
        there = current.node(node) if current is not None else None
        if current is None or there is None or there.state == NodeState.DEAD:
            return False
        return node not in quorum_loss.voters_of(current.partitions[number])

    def _lose(self) -> None:
        """Lose some partition; at least one node is spared."""
        world = self._world
        assert world.map is not None, "the cluster was formed before anything struck"
        spared = [n.id for n in world.map.nodes if holds_data(n.state) and n.id in world.nodes]
        if not spared:
            world.events.after(SAY_AGAIN_MS, self._lose)
            return
        kept = world.random.choice(spared)
        self._destroy(world.random.choice(world.map.partitions), kept)

    def _destroy(self, part: Partition, kept: NodeId) -> None:
        """Destroy a majority of a partition's disks, or all of its voters'; this node is spared."""
        world = self._world
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
