"""Decides whether a data directory may serve in the cluster whose map ZooKeeper holds.

A directory that belongs to a cluster never forms a new one, and never serves under an older map. Its store is
compared with the node's mark: an older copy of it lacks promises and entries.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ringkeep.core.cluster.feature_level import feature_level, too_old
from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeState, partitions_of
from ringkeep.core.protocol.types import Incarnation, NodeId


class Claim(NamedTuple):
    """A start of a directory that may have written the node's mark; recorded in the directory before it
    tries.

    `life` is drawn at random for each start: two copies of one directory count the same incarnation.
    """

    incarnation: Incarnation
    life: str


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a node's store was durable, and in which life: kept in ZooKeeper."""

    incarnation: Incarnation
    life: str
    position: int


UNMARKED: Final = (
    "ZooKeeper has no mark of how far this node's data was durable: it was wiped, or restored from a copy."
    " It cannot be checked whether this directory is the newest copy; it is used as if it was"
)


def is_other_line(claims: Sequence[Claim], mark: Mark) -> bool:
    """Whether the mark is from a start that is not among the claims of the directory.

    A mark that is older than all of them does not count: then ZooKeeper was restored.
    """
    if any(claim.life == mark.life for claim in claims):
        return False
    return not claims or mark.incarnation >= min(claims).incarnation


def other_line(mark: Mark) -> str:
    """Say why an old copy of a directory is refused."""
    return (
        f"start {mark.incarnation} of this node was from another directory, of which this one is an old copy."
        " Nothing was changed. Use the newest directory; or give an empty one, to join as a new node"
    )


def lost(position: int, mark: Mark) -> str:
    """Say what a store has lost that is behind its mark."""
    return (
        f"the data of this node is older than in its start {mark.incarnation}: batch {mark.position} was"
        f" durable, and {position} is the newest here. Was an older copy restored? The node does not vote,"
        " and is refilled from the others"
    )


def runs_elsewhere(other: Member) -> str:
    """Say that another process has this directory's node."""
    return (
        f"the node {other.name} runs already, at {other.peer}, with another copy of this data directory."
        " Nothing was changed. Stop that process first if this copy is to replace it; or give an empty"
        " --data directory, to join as a new node"
    )


def taken_over(incarnation: Incarnation) -> str:
    """Say that this process lost its node to a copy of its directory."""
    return (
        f"start {incarnation} of this node, from another copy of its data directory, has replaced this one"
        " while ZooKeeper could not be reached from here: this process does not vote any more, and stops."
        " Decide which of the two directories to keep, and do not start the other one"
    )


def is_old_copy(member: Member, cluster_map: ClusterMap) -> bool:
    """Whether the cluster has seen this start of the directory, or a later one."""
    known = cluster_map.node(member.id)
    return (
        known is not None
        and member.cluster_id in ("", cluster_map.cluster_id)
        and known.incarnation >= member.incarnation
    )


def given_up(member: Member, stored: ClusterMap | None, cluster_map: ClusterMap) -> str:
    """Say that the cluster gave this directory's node up for dead; "" if it did not.

    `stored`: the last map that the node knew. A dead node is forgotten after a while. So a node that was
    named in `stored`, and is not now, was given up meanwhile, unless it was leaving.
    """
    known = cluster_map.node(member.id)
    if known is not None:
        gone = known.state == NodeState.DEAD and member.cluster_id in ("", cluster_map.cluster_id)
    else:
        before = (
            stored.node(member.id) if stored is not None and stored.version <= cluster_map.version else None
        )
        gone = before is not None and before.state != NodeState.LEAVING and has_left(member, cluster_map)
    if not gone:
        return ""
    return (
        f"the cluster {cluster_map.cluster} gave this node up for dead, and rebuilds its replicas on other"
        " nodes: the data here is not needed any more"
    )


def has_left(member: Member, cluster_map: ClusterMap) -> bool:
    """Whether this directory's node was a member of the cluster, whose map does not name it any more."""
    return (
        bool(member.cluster_id)
        and member.cluster_id == cluster_map.cluster_id
        and not cluster_map.node(member.id)
    )


def may_leave(member: Member, cluster_map: ClusterMap) -> bool:
    """Whether a node was ordered to leave, and has no replica in the map any more."""
    known = cluster_map.node(member.id)
    return (
        known is not None and known.state == NodeState.LEAVING and not partitions_of(cluster_map, member.id)
    )


def name_taken(member: Member, cluster_map: ClusterMap, links: Collection[NodeId]) -> str:
    """Say that a newcomer's name belongs to a node that answers; "" if there is no such node.

    `links`: the nodes to which there is a link from here.
    """
    if cluster_map.node(member.id) is not None:
        return ""
    for node in cluster_map.nodes:
        if node.name == member.name and node.state != NodeState.DEAD and node.id in links:
            return (
                f"the name {node.name} belongs to another data directory, whose node answers at {node.peer}:"
                " choose another --name, or start with the directory of that node"
            )
    return ""


def refusal(
    member: Member, stored: ClusterMap | None, cluster_map: ClusterMap | None, partitions: int | None = None
) -> str:
    """Say why this directory must not start under the map that ZooKeeper holds; "" if it may.

    `stored`: its own map. `partitions`: the number that was configured, None if none was.
    """
    if cluster_map is None:
        if member.cluster_id or stored is not None:
            return (
                f"this directory belongs to the cluster {member.cluster_id}, but ZooKeeper holds"
                " no cluster map: it was wiped, or is the wrong one. Nothing was changed."
                " Point --zookeeper at the right one, or write the map again: ringkeep recover map"
            )
        return ""
    if member.cluster_id and member.cluster_id != cluster_map.cluster_id:
        return (
            f"this directory belongs to the cluster {member.cluster_id}, ZooKeeper holds"
            f" {cluster_map.cluster_id}. Nothing was changed. Check --zookeeper, --cluster and --data"
        )
    if stored is not None and stored.version > cluster_map.version:
        return (
            f"ZooKeeper holds cluster map {cluster_map.version}, older than this node's {stored.version}:"
            " it was restored from a copy. Nothing was changed. Write the map again: ringkeep recover map"
        )
    if too_old(member, cluster_map):
        return (
            f"the cluster uses feature level {feature_level(cluster_map)}, this version of Ringkeep speaks"
            f" up to {member.feature_level}: it cannot read what the others write. Nothing was changed. Start"
            " a version that is as new as the other nodes'"
        )
    if partitions is not None and partitions != len(cluster_map.partitions):
        return (
            f"--partitions is {partitions} here, but the cluster was formed with"
            f" {len(cluster_map.partitions)}, and that number never changes. Nothing was changed. Leave the"
            " option out, or give that number"
        )
    known = cluster_map.node(member.id)
    if known is None:
        return _refused_newcomer(member, cluster_map)
    if is_old_copy(member, cluster_map):
        return (
            f"this directory was started {member.incarnation} times, the cluster has seen start"
            f" {known.incarnation}: it is an old copy. Nothing was changed. Use the newest directory"
        )
    return ""


def _refused_newcomer(member: Member, cluster_map: ClusterMap) -> str:
    """Say why a directory that the map does not name must not join; "" if it may.

    A taken name is not a reason yet: the node that has it may be lost.
    """
    if member.cluster_id:
        return (
            f"this directory's node has left the cluster {cluster_map.cluster}. Nothing was changed."
            " Start with an empty --data directory to join as a new node"
        )
    for node in cluster_map.nodes:
        if node.state == NodeState.DEAD or node.name == member.name:
            continue
        for field in ("http", "peer"):
            if getattr(node, field) == getattr(member, field):
                return f"{node.name} has the same {field} address {getattr(node, field)}: choose another"
    return ""


def behind(held: ClusterMap, cluster_map: ClusterMap | None, same: bool) -> str:
    """Say that ZooKeeper holds an older map than a running node, or a different one; "" if it does not.

    `same`: whether they are the same bytes.
    """
    if cluster_map is None:
        holds = "no cluster map"
    elif cluster_map.cluster_id != held.cluster_id:
        holds = f"a map of another cluster, {cluster_map.cluster_id}"
    elif cluster_map.version < held.version:
        holds = f"map {cluster_map.version}"
    elif cluster_map.version == held.version and not same:
        holds = "a different map of that version"
    else:
        return ""
    return (
        f"this node holds map {held.version}, but ZooKeeper holds {holds}: it was wiped, restored from an"
        " older copy, or is the wrong one. Data is served; changes are refused until the map"
        " is written again: ringkeep recover map"
    )


def odd_one_out(member: Member, members: Sequence[Member]) -> str:
    """Say how this node, waiting at the barrier, differs from the live member with the lowest sequence
    number; "" if it does not."""
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


def peers(mine: Member, cluster_map: ClusterMap | None, members: Iterable[Member]) -> dict[NodeId, str]:
    """Return the peers with their addresses: every node of the map, at the address that it registered last;
    while the cluster is being formed, every member.

    Another node at our own address has ended: its disk was wiped, or its files were renamed.
    """
    there: dict[NodeId, str] = {}
    if cluster_map is not None:
        there = {n.id: n.peer for n in cluster_map.nodes if n.state != NodeState.DEAD and n.peer != mine.peer}
    for member in members:
        if cluster_map is None or member.id in there:
            there[member.id] = member.peer
    there.pop(mine.id, None)
    return there
