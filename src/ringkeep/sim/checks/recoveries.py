"""Recoveries of partitions after losses: which occurred, and whether they were needed."""

from collections.abc import Iterable

from ringkeep.core.cluster import quorum_loss
from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState, Partition
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World


def recovered(partitions: Iterable[Partition], others: Iterable[Partition]) -> list[int]:
    """Return which partitions were recovered from one map to the next."""
    return [n for n, (old, new) in enumerate(zip(partitions, others, strict=True)) if old.base != new.base]


def unfounded(world: World, before: ClusterMap, old: Partition) -> bool:
    """Return whether a partition was recovered though a majority of its disks is available."""
    dead = {node.id for node in before.nodes if node.state == NodeState.DEAD}
    there = [
        voter
        for voter in quorum_loss.voters_of(old)
        if voter in world.nodes and voter not in dead and not world.nodes[voter].lost
    ]
    return quorum.won(old.voters, old.old_voters, there)


def holders(world: World, before: ClusterMap) -> list[SimMachine]:
    """Return the machines whose disks count: all but those of nodes that were given up."""
    dead = {node.id for node in before.nodes if node.state == NodeState.DEAD}
    return [node for node in world.nodes.values() if node.id not in dead]
