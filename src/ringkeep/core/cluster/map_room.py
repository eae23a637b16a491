"""Decides whether the cluster map has room for additions: joining nodes, and settings.

The limit here is lower than the map's own, so that failovers and moves can always be written.
"""

from collections.abc import Callable
from dataclasses import replace

from ringkeep.core.cluster.replica_changes import targets
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.types import NodeId

Size = Callable[[ClusterMap], int]
"""How many bytes a map takes in its znode."""


def too_large(before: ClusterMap, after: ClusterMap, damaged: Callable[[NodeId], bool], size: Size) -> str:
    """Say that the map would be too large with the additions, once its moves are done; "" if not.

    Cost: that of a plan and of encoding the map, if anything is added.
    """
    known = {node.id for node in before.nodes}
    joins = [node.name for node in after.nodes if node.id not in known]
    if (
        not joins
        and after.replication <= before.replication
        and after.settings.keys() <= before.settings.keys()
    ):
        return ""
    partitions = tuple(
        replace(part, voters=voters, old_voters=(), learner=None, replaces=None)
        for part, voters in zip(after.partitions, targets(after, damaged), strict=True)
    )
    needed = size(replace(after, partitions=partitions))
    if needed <= limits.MAP_GROWTH_BYTES:
        return ""
    what = f"{', '.join(joins)} cannot join" if joins else "this cannot be set"
    return (
        f"{what}: the cluster map would take {needed} bytes, but {limits.MAP_GROWTH_BYTES} are allowed,"
        " so that failovers can always be written. Let other nodes leave first, or form a cluster of fewer"
        " partitions"
    )
