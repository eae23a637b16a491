"""The controller's decisions: (map, members, what nodes report) -> the next map, or None.

Pure: any controller computes the same. Who acts, and when, is `steward.py`; two at once are harmless, since
one compare-and-set decides.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import is_

from ringkeep.core import limits, quorum
from ringkeep.core.changes import Progress, arrived, begin, holds_data, in_order, step_on, targets, under_way
from ringkeep.core.clustermap import ClusterMap, Member, NodeInfo, NodeState, Partition
from ringkeep.core.messages import Said
from ringkeep.core.placement import place
from ringkeep.core.ring import RingNode
from ringkeep.core.types import Epoch, Incarnation, MapVersion, NodeId

Suspicions = Callable[[NodeId], Sequence[NodeId] | None]
"""Whom a node suspects by its own word, or None if it does not answer."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a primary said of its own partition. It counts only for the (epoch, config) that the map still
    has.

    `what`: `messages.Said`. `node`: whom to hand it over to, or the learner that is close behind;
    `rows.NO_NODE` otherwise.
    """

    partition: int
    epoch: Epoch
    config: MapVersion
    what: int
    node: NodeId


def _never(*_: object) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Seen:
    """What a controller knows beside the map.

    `members`: the live processes, one per node id. `unfit`: damaged, draining or too old to be given
    anything. `damaged`: it lost something that it had acknowledged. `absent`: silent for so long that no
    change waits for it. `active`: whether a partition's primary says that it serves. `tried`: (partition,
    node) that failed to become ACTIVE lately, and are chosen last. `orders`: the states that operators want
    nodes to have.
    """

    members: Sequence[Member]
    suspicions: Suspicions
    unfit: Callable[[NodeId], bool]
    statements: Sequence[Statement] = ()
    tried: Collection[tuple[int, NodeId]] = ()
    damaged: Callable[[NodeId], bool] = _never
    absent: Callable[[NodeId], bool] = _never
    active: Callable[[int], bool] = _never
    orders: Sequence[tuple[NodeId, NodeState]] = ()


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
    nodes = tuple(_info(m, NodeState.ACTIVE) for m in sorted(members, key=lambda m: m.name))
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


def next_map(now: ClusterMap, seen: Seen) -> ClusterMap | None:
    """Return the map that follows, or None when nothing is due.

    In each partition the most urgent is done, and only that: another primary first, then a step of the change
    under way, then the beginning of the next one.
    """
    nodes = _next_nodes(now, seen)
    seen = replace(seen, suspicions=_with_the_dead(seen.suspicions, nodes))
    incarnations = {node.id: node.incarnation for node in nodes}
    said: dict[tuple[int, int], Statement] = {}
    for statement in seen.statements:
        if statement.partition < len(now.partitions):
            part = now.partitions[statement.partition]
            if (statement.epoch, statement.config) == (part.epoch, part.config):
                said[statement.partition, statement.what] = statement
    partitions = list(now.partitions)
    led = set()
    for number, part in enumerate(now.partitions):
        last = [node for node in part.voters if (number, node) in seen.tried or node == part.replaces]
        word = said.get((number, Said.FAILED)) or said.get((number, Said.HANDOVER))
        successor = _successor(part, incarnations, seen, word, last)
        if successor is not None:
            led.add(number)
            partitions[number] = replace(
                part, epoch=Epoch(part.epoch + 1), primary=successor, incarnation=incarnations[successor]
            )
    after = now.next(nodes=nodes, partitions=tuple(partitions))
    after = _change_replicas(after, seen, said, led)
    if after.nodes == now.nodes and all(map(is_, after.partitions, now.partitions)):
        return None
    return after


# --- nodes -------------------------------------------------------------------------------------------


def _next_nodes(now: ClusterMap, seen: Seen) -> tuple[NodeInfo, ...]:
    """Take newer lives, what operators ordered, and newcomers; leave out who has left."""
    lives = {member.id: member for member in seen.members}
    held = {node for part in now.partitions for node in part.replicas}
    nodes = [_refreshed(node, lives.get(node.id)) for node in now.nodes]
    for ordered, state in seen.orders:
        at = next((i for i, node in enumerate(nodes) if node.id == ordered), None)
        if at is not None and nodes[at].state != state and _obeyed(nodes, nodes[at], state, now.replication):
            nodes[at] = replace(nodes[at], state=state)
    nodes = [node for node in nodes if not _has_left(node, held, lives)]
    for member in seen.members:
        if member.cluster_id or any(node.id == member.id for node in nodes):
            continue  # who belonged to this cluster and is not in the map has left it for good
        if _clash(nodes, member):
            continue
        nodes = [_renamed(node, member.name) for node in nodes]
        nodes.append(_info(member, NodeState.JOINING))
    return tuple(nodes)


def _with_the_dead(suspicions: Suspicions, nodes: Sequence[NodeInfo]) -> Suspicions:
    """Let everybody suspect the dead too, whom nobody watches any more; they have no word themselves."""
    dead = [node.id for node in nodes if node.state == NodeState.DEAD]

    def suspected(node: NodeId) -> Sequence[NodeId] | None:
        found = suspicions(node)
        return None if found is None or node in dead else [*found, *dead]

    return suspected if dead else suspicions


def _refreshed(node: NodeInfo, member: Member | None) -> NodeInfo:
    """Take incarnation and addresses from a newer life of the node. The dead have none."""
    if member is None or member.incarnation <= node.incarnation or node.state == NodeState.DEAD:
        return node
    return replace(node, incarnation=member.incarnation, http=member.http, peer=member.peer)


def _obeyed(nodes: Sequence[NodeInfo], node: NodeInfo, state: NodeState, replication: int) -> bool:
    """Tell whether an order may be carried out: enough nodes must remain, and the dead stay dead."""
    if node.state == NodeState.DEAD:
        return False
    remain = sum(holds_data(other.state) for other in nodes if other is not node)
    return holds_data(state) or remain >= replication


def _has_left(node: NodeInfo, held: Collection[NodeId], lives: Mapping[NodeId, Member]) -> bool:
    """Tell whether a leaving node has nothing any more.

    As long as its registration does not say that it belongs to this cluster it could be taken for a newcomer.
    """
    member = lives.get(node.id)
    known = member is None or bool(member.cluster_id)
    return node.state == NodeState.LEAVING and node.id not in held and known


def _clash(nodes: Sequence[NodeInfo], member: Member) -> bool:
    """Tell whether somebody else has the newcomer's name or an address of its."""
    return any(
        node.state != NodeState.DEAD
        and (node.name == member.name or node.http == member.http or node.peer == member.peer)
        for node in nodes
    )


def _renamed(node: NodeInfo, taken: str) -> NodeInfo:
    """Give a dead node whose name a newcomer has another one."""
    return replace(node, name=f"{node.name}~{node.id[:8]}") if node.name == taken else node


def _info(member: Member, state: NodeState) -> NodeInfo:
    return NodeInfo(
        member.id,
        member.name,
        member.http,
        member.peer,
        member.zone,
        member.weight,
        member.incarnation,
        state,
    )


# --- replicas ----------------------------------------------------------------------------------------


def _change_replicas(
    after: ClusterMap, seen: Seen, said: Mapping[tuple[int, int], Statement], led: Collection[int]
) -> ClusterMap:
    """Take changes of replicas a step on, and begin new ones as long as not too many are under way."""
    target = targets(after, seen.damaged)
    states = {node.id: node.state for node in after.nodes}
    partitions = list(after.partitions)

    def hopeless(node: NodeId) -> bool:
        return not holds_data(states[node]) or seen.damaged(node) or seen.absent(node)

    def fit(node: NodeId) -> bool:
        return not seen.unfit(node)

    room = limits.MOVES_AT_ONCE - under_way(partitions)
    for number, part in enumerate(partitions):
        if number in led:
            continue  # its replicas change under the epoch that stands, not together with it
        learner = said.get((number, Said.CAUGHT_UP))
        progress = Progress(
            learner is not None and learner.node == part.learner,
            (number, Said.SETTLED) in said,
            seen.active(number),
        )
        moved = step_on(part, after.version, progress, hopeless)
        if moved is None and part.learner is None and not part.old_voters and room > 0:
            moved = begin(part, target[number], after.version, progress, fit)
            room -= moved is not None
        partitions[number] = moved if moved is not None else in_order(part, target[number])
    nodes = [
        replace(node, state=NodeState.ACTIVE)
        if node.state == NodeState.JOINING and arrived(node.id, partitions, target)
        else node
        for node in after.nodes
    ]
    return replace(after, nodes=tuple(nodes), partitions=tuple(partitions))


# --- primaries ---------------------------------------------------------------------------------------


def _successor(
    part: Partition,
    incarnations: dict[NodeId, Incarnation],
    seen: Seen,
    statement: Statement | None,
    last: Sequence[NodeId],
) -> NodeId | None:
    """Return who must lead the partition under a new epoch, or None if it stays as it is.

    A damaged primary never takes office, though it answers. While joint, the new one is of both sets of
    voters, so that going back stays possible.
    """
    gone = incarnations[part.primary] != part.incarnation or seen.damaged(part.primary)
    if not gone and statement is None and not _suspected_by_majority(part, seen.suspicions):
        return None
    common = [node for node in part.voters if not part.old_voters or node in part.old_voters]
    fit = [node for node in common if not seen.unfit(node) and _reaches_majority(node, part, seen.suspicions)]
    if statement is not None and not gone and statement.what == Said.HANDOVER:
        return statement.node if statement.node in fit else None
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
