"""Decides which nodes the next map names, and in which state: restarted, joining, leaving, lost ones.

A name belongs to one node at a time: a newcomer of a name takes it over once no node hears the old node, and
no partition needs it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ringkeep.core.cluster.feature_level import too_old
from ringkeep.core.cluster.observations import Observations, Reachability, Suspicions
from ringkeep.core.cluster.orders import loss_objection
from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeInfo, NodeState
from ringkeep.core.protocol.types import NodeId


def next_nodes(current: ClusterMap, seen: Observations) -> tuple[NodeInfo, ...]:
    """Return the nodes of the next map: with newer lives and newcomers, lost ones dead, without those that
    left."""
    lives = {member.id: member for member in seen.members}
    held = {node for part in current.partitions for node in part.replicas}
    nodes = [_refreshed(node, lives.get(node.id)) for node in current.nodes]
    for at, node in enumerate(nodes):
        if node.state != NodeState.DEAD and seen.lost(node.id) and node.id not in lives:
            present = replace(current, nodes=tuple(nodes))
            if not loss_objection(present, node, seen.reachability):
                nodes[at] = replace(node, state=NodeState.DEAD)
    nodes = [
        node
        for node in nodes
        if not _has_left(node, held, lives) and not _is_forgotten(node, held, lives, seen)
    ]
    for member in seen.members if seen.room else ():
        if member.cluster_id or any(node.id == member.id for node in nodes) or too_old(member, current):
            continue  # a former member that the map does not name any more has left for good
        nodes = _with_newcomer(replace(current, nodes=tuple(nodes)), member, lives, seen.reachability)
    return tuple(nodes)


def with_the_dead(suspicions: Suspicions, nodes: Sequence[NodeInfo]) -> Suspicions:
    """Return suspicions in which every node also suspects the dead, and the dead report none."""
    dead = [node.id for node in nodes if node.state == NodeState.DEAD]

    def suspected(node: NodeId) -> Sequence[NodeId] | None:
        reported = suspicions(node)
        return None if reported is None or node in dead else [*reported, *dead]

    return suspected if dead else suspicions


def info(member: Member, state: NodeState) -> NodeInfo:
    """Return what the map says of a member."""
    return NodeInfo(
        member.id, member.name, member.http, member.peer, member.zone, member.weight, member.incarnation,
        state,
    )  # fmt: skip


def _refreshed(node: NodeInfo, member: Member | None) -> NodeInfo:
    """Take incarnation and addresses from a newer life of the node. The dead have none."""
    if member is None or member.incarnation <= node.incarnation or node.state == NodeState.DEAD:
        return node
    return replace(node, incarnation=member.incarnation, http=member.http, peer=member.peer)


def _has_left(node: NodeInfo, held: Collection[NodeId], lives: Mapping[NodeId, Member]) -> bool:
    """Whether a leaving node holds nothing any more, and its process, which clients used, has ended."""
    return node.state == NodeState.LEAVING and node.id not in held and node.id not in lives


def _is_forgotten(
    node: NodeInfo, held: Collection[NodeId], lives: Mapping[NodeId, Member], seen: Observations
) -> bool:
    """Whether a dead node can be removed from the map: it holds nothing, and was listed for long enough.

    If it comes back, its directory belongs to this cluster, whose map does not name it: from that it learns
    that it was given up (`admission.py`).
    """
    idle = node.state == NodeState.DEAD and node.id not in held and node.id not in lives
    return idle and (not seen.room or seen.forgettable(node.id))


def _with_newcomer(
    current: ClusterMap, member: Member, lives: Mapping[NodeId, Member], reachability: Reachability
) -> list[NodeInfo]:
    """Return the nodes with a newcomer, if no other node has its name or one of its addresses.

    The node that had the name is given up: its disk was wiped, or its machine replaced.
    """
    before = list(current.nodes)
    newcomer = info(member, NodeState.JOINING)
    living = [node for node in before if node.state != NodeState.DEAD]
    old = next((node for node in living if node.name == member.name), None)
    others = [node for node in living if node is not old]
    if any(node.http == member.http or node.peer == member.peer for node in others):
        return before
    if old is not None:
        beside = replace(current, nodes=(*before, newcomer))
        if old.id in lives or loss_objection(beside, old, reachability):
            return before
        before = [replace(node, state=NodeState.DEAD) if node is old else node for node in before]
    return [*(_renamed(node, member.name) for node in before), newcomer]


def _renamed(node: NodeInfo, taken: str) -> NodeInfo:
    """Rename a dead node if a newcomer has taken its name."""
    return replace(node, name=f"{node.name}~{node.id[:8]}") if node.name == taken else node
