"""What placement is held against: the bounds that follow from the shares, and preference lists of ids."""

from collections.abc import Sequence

from ringkeep.core.cluster.ring import Ring, RingNode, build_ring, preference_list
from ringkeep.core.cluster.shares import at_most, primary_shares, replica_shares


def load_bounds(nodes: Sequence[RingNode], partitions: int, replication: int) -> dict[str, tuple[int, int]]:
    """Return for each node with a weight the most replicas that it may hold and the most it may lead."""
    ring = build_ring(nodes)
    if not ring.nodes:
        return {}
    replicas = replica_shares(ring, partitions, min(replication, len(ring.nodes)))
    both = zip(ring.nodes, replicas, primary_shares(ring, partitions), strict=True)
    return {node.id: (at_most(held, partitions), at_most(led, partitions)) for node, held, led in both}


def preferred(ring: Ring, at: int, count: int) -> tuple[str, ...]:
    """Return the ids of the first `count` nodes of the preference list at this token."""
    order = preference_list(ring, at, range(len(ring.nodes)))
    return tuple(ring.nodes[node].id for node in order[:count])
