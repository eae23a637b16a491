"""The feature level: which kinds of entries, records and messages the nodes of a cluster may use.

The map holds it as a setting. The controller raises it when every node that was not given up is registered
with software that speaks more; it is never lowered. So nodes of two versions can form one cluster while they
are restarted one by one, and nothing is written that one of them cannot read.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeState

SETTING: Final = "feature_level"
"""Not for PATCH."""

FIRST: Final = 1  # PUT and DELETE entries, records without a deadline
OPERATIONS: Final = 2  # entries of several changes, expiry, results that are kept; messages with a ttl
NEWEST: Final = OPERATIONS
"""What this software speaks."""


def feature_level(cluster_map: ClusterMap) -> int:
    """Return the level that the cluster uses."""
    return cluster_map.settings.get(SETTING, FIRST)


def first_settings(members: Iterable[Member]) -> dict[str, int]:
    """Return the settings of a new cluster of these members."""
    common = min(member.feature_level for member in members)
    return {SETTING: common} if common > FIRST else {}


def raised(current: ClusterMap, members: Iterable[Member]) -> ClusterMap:
    """Return the map with the highest level that every node speaks, or the same map."""
    spoken = {member.id: member.feature_level for member in members}
    living = [node.id for node in current.nodes if node.state != NodeState.DEAD]
    common = min((spoken.get(node, FIRST) for node in living), default=FIRST)
    if common <= feature_level(current):
        return current
    return replace(current, settings=current.settings | {SETTING: common})


def too_old(member: Member, current: ClusterMap) -> bool:
    """Whether a member's software does not speak what the cluster uses."""
    return member.feature_level < feature_level(current)
