"""Whether a directory may serve in the cluster that the coordination service holds.

A directory that belongs to a cluster never forms a new one, and never serves under an older map.
"""

from collections.abc import Collection, Sequence

from ringkeep.core.clustermap import ClusterMap, Member, NodeState, partitions_of
from ringkeep.core.types import NodeId


def is_old_copy(member: Member, found: ClusterMap) -> bool:
    """Whether the cluster has seen this start of the directory, or a later one."""
    known = found.node(member.id)
    return (
        known is not None
        and member.cluster_id in ("", found.cluster_id)
        and known.incarnation >= member.incarnation
    )


def given_up(member: Member, found: ClusterMap) -> str:
    """Say that the cluster gave this directory's node up for dead; "" if it did not."""
    known = found.node(member.id)
    if known is None or known.state != NodeState.DEAD or member.cluster_id not in ("", found.cluster_id):
        return ""
    return (
        f"the cluster {found.cluster} gave this node up for dead, and makes its replicas anew elsewhere:"
        " what is stored here is needed no more"
    )


def has_left(member: Member, found: ClusterMap) -> bool:
    """Tell whether this directory's node was one of the cluster, which names it no more."""
    return bool(member.cluster_id) and member.cluster_id == found.cluster_id and not found.node(member.id)


def may_leave(member: Member, found: ClusterMap) -> bool:
    """Tell whether a node was asked to leave, and the map gives it nothing any more."""
    known = found.node(member.id)
    return known is not None and known.state == NodeState.LEAVING and not partitions_of(found, member.id)


def name_taken(member: Member, found: ClusterMap, links: Collection[NodeId]) -> str:
    """Say that a newcomer's name belongs to a node that answers; "" if it does not, or is silent.

    `links`: the nodes to which there is a link from here.
    """
    if found.node(member.id) is not None:
        return ""
    for node in found.nodes:
        if node.name == member.name and node.state != NodeState.DEAD and node.id in links:
            return (
                f"the name {node.name} belongs to another data directory, whose node answers at {node.peer}:"
                " choose another --name, or start with the directory of that node"
            )
    return ""


def refusal(
    member: Member, stored: ClusterMap | None, found: ClusterMap | None, partitions: int | None = None
) -> str:
    """Say why this directory must not start against the map that was found; "" if it may.

    `stored`: its own. `partitions`: the number that was asked for, None if it was left open.
    """
    if found is None:
        if member.cluster_id or stored is not None:
            return (
                f"this directory belongs to the cluster {member.cluster_id}, but ZooKeeper holds"
                " no cluster map: it was wiped, or is the wrong one. Nothing was touched."
                " Point --zookeeper at the right one, or write the map anew: ringkeep recover map"
            )
        return ""
    if member.cluster_id and member.cluster_id != found.cluster_id:
        return (
            f"this directory belongs to the cluster {member.cluster_id}, ZooKeeper holds {found.cluster_id}."
            " Nothing was touched. Check --zookeeper, --cluster and --data"
        )
    if stored is not None and stored.version > found.version:
        return (
            f"ZooKeeper holds cluster map {found.version}, older than this node's {stored.version}:"
            " it was restored from a copy. Nothing was touched. Write the map anew: ringkeep recover map"
        )
    if partitions is not None and partitions != len(found.partitions):
        return (
            f"--partitions is {partitions} here, and the cluster was formed with"
            f" {len(found.partitions)}, which never changes: leave the option out, or give that number"
        )
    known = found.node(member.id)
    if known is None:
        return _refused_newcomer(member, found)
    if is_old_copy(member, found):
        return (
            f"this directory was started {member.incarnation} times, the cluster has seen"
            f" {known.incarnation}: it is an old copy. Nothing was touched. Use the newest directory"
        )
    return ""


def _refused_newcomer(member: Member, found: ClusterMap) -> str:
    """Say why a directory that the map does not name must not join; "" if it may.

    A name that is taken is no reason yet: the node that has it may be gone.
    """
    if member.cluster_id:
        return (
            f"this directory's node has left the cluster {found.cluster}. Nothing was touched."
            " Start with an empty --data directory to join as a new node"
        )
    for node in found.nodes:
        if node.state == NodeState.DEAD or node.name == member.name:
            continue
        for field in ("http", "peer"):
            if getattr(node, field) == getattr(member, field):
                return f"{node.name} has the same {field} address {getattr(node, field)}: choose another"
    return ""


def behind(held: ClusterMap, found: ClusterMap | None, same: bool) -> str:
    """Say that the register holds less than a running node's own map, or something else; "" if it does not.

    `same`: whether they are the same bytes.
    """
    if found is None:
        holds = "no cluster map"
    elif found.cluster_id != held.cluster_id:
        holds = f"a map of another cluster, {found.cluster_id}"
    elif found.version < held.version:
        holds = f"map {found.version}"
    elif found.version == held.version and not same:
        holds = "another map of that number"
    else:
        return ""
    return (
        f"this node holds map {held.version}, and ZooKeeper {holds}: it was wiped, restored from an older"
        " copy, or is the wrong one. Data is served, changes are refused until the map is back:"
        " ringkeep recover map"
    )


def odd_one_out(member: Member, members: Sequence[Member]) -> str:
    """Say what this node, waiting at the barrier, has otherwise than the first in line; "" if they agree."""
    first = next(iter(members), None)
    if first is None or first.id == member.id:
        return ""
    for field in ("expect", "replication", "partitions"):
        mine, theirs = getattr(member, field), getattr(first, field)
        if mine != theirs:
            return f"--{field} is {mine} here and {theirs} on {first.name}, which was first: make them equal"
    for field in ("name", "http", "peer"):
        if getattr(member, field) == getattr(first, field):
            return (
                f"{first.name} has the same {field} {getattr(member, field)}, and was first: choose another"
            )
    return ""
