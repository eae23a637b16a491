"""Whether a directory may serve in the cluster that the coordination service holds.

A directory that belongs to a cluster never forms a new one, and never serves under an older map. What it
holds is compared with the node's mark: an older state of it has forgotten promises and entries.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeState, partitions_of
from ringkeep.core.protocol.types import Incarnation, NodeId


class Claim(NamedTuple):
    """A start of a directory that set out to make the node's mark its own; recorded there before it tries.

    `life` was drawn for this start alone: two copies of one directory count the same incarnation.
    """

    incarnation: Incarnation
    life: str


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a node's store was durable, in which of its lives: what the coordination service keeps."""

    incarnation: Incarnation
    life: str
    position: int


UNMARKED: Final = (
    "ZooKeeper has no mark of how far this node's data was durable: it was wiped, or restored. So it"
    " cannot be checked whether this directory is the newest one; it is used as if it was"
)


def is_other_line(claims: Sequence[Claim], mark: Mark) -> bool:
    """Whether the mark is of a start that a directory with these claims knows nothing of.

    One that is older than all of them does not speak against it: then the register was restored.
    """
    if any(claim.life == mark.life for claim in claims):
        return False
    return not claims or mark.incarnation >= min(claims).incarnation


def other_line(mark: Mark) -> str:
    """Say why a directory of another line is refused."""
    return (
        f"start {mark.incarnation} of this node was from another directory, and this one is an old copy of"
        " that. Nothing was touched. Use the newest directory; or give an empty one, to join as a new node"
    )


def lost(position: int, mark: Mark) -> str:
    """Say what a store has lost that is not as far as its mark."""
    return (
        f"the data of this node is older than what it held in start {mark.incarnation}: batch {mark.position}"
        f" was durable, and {position} is the newest here. Was a copy put back? The node has no vote, and is"
        " filled anew from the others"
    )


def runs_elsewhere(other: Member) -> str:
    """Say that another process has this directory's node."""
    return (
        f"the node {other.name} runs already, at {other.peer}, with another copy of this data directory."
        " Nothing was touched. Stop that process first if this copy is to take its place; or give an empty"
        " --data directory, to join as a new node"
    )


def taken_over(incarnation: Incarnation) -> str:
    """Say that this process lost its node to a copy of its directory."""
    return (
        f"start {incarnation} of this node, from another copy of its data directory, has taken its place"
        " while ZooKeeper could not be reached from here: this process has no vote any more, and stops. Find"
        " out which of the two directories is to go on, and do not start the other one"
    )


def is_old_copy(member: Member, found: ClusterMap) -> bool:
    """Whether the cluster has seen this start of the directory, or a later one."""
    known = found.node(member.id)
    return (
        known is not None
        and member.cluster_id in ("", found.cluster_id)
        and known.incarnation >= member.incarnation
    )


def given_up(member: Member, stored: ClusterMap | None, found: ClusterMap) -> str:
    """Say that the cluster gave this directory's node up for dead; "" if it did not.

    `stored`: the last map that the node knew. A dead node is forgotten in the end. So one that was named
    then, and is not now, was given up meanwhile, unless it was about to leave.
    """
    known = found.node(member.id)
    if known is not None:
        gone = known.state == NodeState.DEAD and member.cluster_id in ("", found.cluster_id)
    else:
        before = stored.node(member.id) if stored is not None and stored.version <= found.version else None
        gone = before is not None and before.state != NodeState.LEAVING and has_left(member, found)
    if not gone:
        return ""
    return (
        f"the cluster {found.cluster} gave this node up for dead, and copies its replicas anew to other"
        " nodes: the data here is not needed any more"
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


def peers(mine: Member, found: ClusterMap | None, members: Iterable[Member]) -> dict[NodeId, str]:
    """Return whom to talk to, and where: every node of the map, at the address of its newest life; while
    forming, every member.

    Another node at our own address is gone: its disk was wiped, or set aside.
    """
    there: dict[NodeId, str] = {}
    if found is not None:
        there = {n.id: n.peer for n in found.nodes if n.state != NodeState.DEAD and n.peer != mine.peer}
    for member in members:
        if found is None or member.id in there:
            there[member.id] = member.peer
    there.pop(mine.id, None)
    return there
