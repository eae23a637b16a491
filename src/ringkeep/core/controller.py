"""The controller's decisions: (map, members, what nodes report) -> the next map, or None.

Pure: any controller computes the same. Who acts, and when, is `steward.py`; two at once are harmless, since
one compare-and-set decides.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ringkeep.core import quorum
from ringkeep.core.clustermap import ClusterMap, Member, NodeInfo, NodeState, Partition
from ringkeep.core.placement import place
from ringkeep.core.ring import RingNode
from ringkeep.core.types import Epoch, Incarnation, MapVersion, NodeId

Suspicions = Callable[[NodeId], Sequence[NodeId] | None]
"""Whom a node suspects by its own word, or None if it does not answer."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a primary said of its own partition.

    `to`: hand it to that caught-up voter; None: choose another.
    """

    partition: int
    epoch: Epoch
    config: MapVersion
    to: NodeId | None


def form(members: Sequence[Member], cluster: str, cluster_id: str) -> ClusterMap:
    """Return the first map of a cluster of these members, who have agreed on Q and RF."""
    first = members[0]
    ring = [RingNode(m.id, m.zone, m.weight) for m in sorted(members, key=lambda m: m.id)]
    incarnations = {m.id: m.incarnation for m in members}
    version = MapVersion(1)
    partitions = tuple(
        Partition(
            Epoch(1), NodeId(voters[0]), incarnations[NodeId(voters[0])], tuple(map(NodeId, voters)), version
        )
        for voters in place(ring, first.partitions, first.replication)
    )
    nodes = tuple(
        NodeInfo(m.id, m.name, m.http, m.peer, m.zone, m.weight, m.incarnation)
        for m in sorted(members, key=lambda m: m.name)
    )
    return ClusterMap(version, cluster, cluster_id, first.replication, nodes, partitions)


def disagreement(members: Sequence[Member]) -> str | None:
    """Say why these members cannot form a cluster together, or None."""
    for field in ("expect", "replication", "partitions"):
        values = {getattr(m, field) for m in members}
        if len(values) > 1:
            said = ", ".join(f"{m.name}: {getattr(m, field)}" for m in members)
            return f"the nodes differ in --{field} ({said})"
    for field in ("name", "http", "peer"):
        seen: dict[str, Member] = {}
        for member in members:
            other = seen.setdefault(getattr(member, field), member)
            if other is not member:
                return f"{other.name} and {member.name} have the same {field} {getattr(member, field)}"
    return None


def newest_lives(members: Iterable[Member]) -> list[Member]:
    """Return the members in line, of two with one node id only the one of the higher incarnation."""
    newest: dict[NodeId, Member] = {}
    ordered = sorted(members, key=lambda m: m.sequence)
    for member in ordered:
        known = newest.get(member.id)
        if known is None or member.incarnation > known.incarnation:
            newest[member.id] = member
    return [member for member in ordered if newest[member.id] is member]


def next_map(
    now: ClusterMap,
    members: Sequence[Member],
    suspicions: Suspicions,
    unfit: Callable[[NodeId], bool],
    statements: Sequence[Statement],
    tried: Collection[tuple[int, NodeId]] = (),
) -> ClusterMap | None:
    """Return the map that follows, or None when nothing is due.

    `members`: the live processes, one per node id. `unfit`: damaged, draining or too old to be given
    anything.
    `statements` count only for the (epoch, config) that the map still has. `tried`: (partition, node) that
    failed to become ACTIVE lately, and are chosen last.
    """
    lives = {m.id: m for m in members}
    nodes = tuple(_refreshed(node, lives.get(node.id)) for node in now.nodes)
    incarnations = {node.id: node.incarnation for node in nodes}
    said: dict[int, Statement] = {}
    for statement in statements:
        if statement.partition >= len(now.partitions):
            continue
        part = now.partitions[statement.partition]
        if (statement.epoch, statement.config) == (part.epoch, part.config):
            said[statement.partition] = statement
    partitions = list(now.partitions)
    for number, part in enumerate(now.partitions):
        last = [node for node in part.voters if (number, node) in tried]
        successor = _successor(part, incarnations, suspicions, unfit, said.get(number), last)
        if successor is not None:
            partitions[number] = replace(
                part, epoch=Epoch(part.epoch + 1), primary=successor, incarnation=incarnations[successor]
            )
    if nodes == now.nodes and all(new is old for new, old in zip(partitions, now.partitions, strict=True)):
        return None
    return now.next(nodes=nodes, partitions=tuple(partitions))


def _refreshed(node: NodeInfo, member: Member | None) -> NodeInfo:
    """Take incarnation and addresses from a newer life of the node."""
    if member is None or member.incarnation <= node.incarnation:
        return node
    return replace(
        node, incarnation=member.incarnation, http=member.http, peer=member.peer, state=NodeState.ACTIVE
    )


def _successor(
    part: Partition,
    incarnations: dict[NodeId, Incarnation],
    suspicions: Suspicions,
    unfit: Callable[[NodeId], bool],
    statement: Statement | None,
    last: Sequence[NodeId],
) -> NodeId | None:
    """Return who must lead the partition under a new epoch, or None if it stays as it is."""
    gone = incarnations[part.primary] != part.incarnation
    if not gone and statement is None and not _suspected_by_majority(part, suspicions):
        return None
    fit = [node for node in part.voters if not unfit(node) and _reaches_majority(node, part, suspicions)]
    if statement is not None and not gone and statement.to is not None:
        return statement.to if statement.to in fit else None
    others = sorted((node for node in fit if node != part.primary), key=last.__contains__)
    if others:
        return others[0]
    return part.primary if gone and part.primary in fit else None


def _suspected_by_majority(part: Partition, suspicions: Suspicions) -> bool:
    against = [
        node
        for node in dict.fromkeys(part.voters + part.old_voters)
        if node != part.primary and part.primary in (suspicions(node) or ())
    ]
    return quorum.won(part.voters, part.old_voters, against)


def _reaches_majority(node: NodeId, part: Partition, suspicions: Suspicions) -> bool:
    suspected = suspicions(node)
    if suspected is None:
        return False
    reached = [other for other in part.voters + part.old_voters if other not in suspected]
    return quorum.won(part.voters, part.old_voters, reached)
