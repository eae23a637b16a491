"""The controller's decisions: (map, members, what nodes report) -> the next map, or None.

Pure: any controller computes the same. Which nodes there are is `membership.py`'s matter, what operators want
`orders.py`'s. Who acts, and when, is `controller.py`; two at once are harmless, since
one compare-and-set decides.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import is_

from ringkeep.core.cluster.cluster_settings import CANCELLED, MOVES, MOVES_AT_ONCE, setting
from ringkeep.core.cluster.feature_level import first_settings, raised
from ringkeep.core.cluster.membership import info, next_nodes, with_the_dead
from ringkeep.core.cluster.observations import Observations, Statement, Suspicions
from ringkeep.core.cluster.orders import carry_out
from ringkeep.core.cluster.placement import place
from ringkeep.core.cluster.replica_changes import (
    ChangeProgress,
    arrived,
    begin,
    holds_data,
    in_order,
    step_on,
    targets,
    under_way,
)
from ringkeep.core.cluster.ring import RingNode
from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeState, Partition
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion, NodeId


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
    nodes = tuple(info(m, NodeState.ACTIVE) for m in sorted(members, key=lambda m: m.name))
    settings = first_settings(members)
    return ClusterMap(version, cluster, cluster_id, first.replication, nodes, partitions, settings)


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


def next_map(current: ClusterMap, seen: Observations) -> ClusterMap | None:
    """Return the map that follows, or None when nothing is due.

    In each partition the most urgent is done, and only that: another primary first, then a step of the change
    under way, then the beginning of the next one.
    """
    before, current = current, carry_out(seen.orders, raised(current, seen.members), seen.reachability)
    nodes = next_nodes(current, seen)
    seen = replace(seen, suspicions=with_the_dead(seen.suspicions, nodes))
    incarnations = {node.id: node.incarnation for node in nodes}
    said: dict[tuple[int, int], Statement] = {}
    for statement in seen.statements:
        if statement.partition < len(current.partitions):
            part = current.partitions[statement.partition]
            if (statement.epoch, statement.config) == (part.epoch, part.config):
                said[statement.partition, statement.what] = statement
    partitions = list(current.partitions)
    led = {number for number, part in enumerate(current.partitions) if part is not before.partitions[number]}
    for number, part in enumerate(current.partitions):
        if number in led:  # recovered: its node may have started again since any map could be written
            partitions[number] = replace(part, incarnation=incarnations[part.primary])
            continue
        last = [node for node in part.voters if (number, node) in seen.tried or node == part.replaces]
        word = said.get((number, Said.FAILED)) or said.get((number, Said.HANDOVER))
        successor = _successor(part, incarnations, seen, word, last) or _nearer_to_newcomer(part, seen)
        if successor is not None:
            led.add(number)
            partitions[number] = replace(
                part, epoch=Epoch(part.epoch + 1), primary=successor, incarnation=incarnations[successor]
            )
    after = current.next(nodes=nodes, partitions=tuple(partitions))
    after = _change_replicas(after, seen, said, led)
    same = (after.nodes, after.replication, after.settings) == (
        before.nodes, before.replication, before.settings,
    )  # fmt: skip
    return None if same and all(map(is_, after.partitions, before.partitions)) else after


def _always(_: NodeId) -> bool:
    return True


# --- replicas ----------------------------------------------------------------------------------------


def _change_replicas(
    after: ClusterMap, seen: Observations, said: Mapping[tuple[int, int], Statement], led: Collection[int]
) -> ClusterMap:
    """Take changes of replicas a step on, and begin new ones as long as not too many are under way.

    Held moves stay where they are, but for a joint change, which ends; cancelled ones go back.
    """
    target = targets(after, seen.damaged)
    held = setting(after, MOVES)
    states = {node.id: node.state for node in after.nodes}
    partitions = list(after.partitions)

    def gone(node: NodeId) -> bool:
        return seen.damaged(node) or seen.absent(node)

    def hopeless(node: NodeId) -> bool:
        return not holds_data(states[node]) or gone(node) or held == CANCELLED

    def fit(node: NodeId) -> bool:
        return not seen.unfit(node) and not seen.full(node)

    def leads(node: NodeId) -> bool:
        return states[node] != NodeState.DRAINING

    def arriving(node: NodeId) -> bool:
        return states[node] == NodeState.JOINING

    votes = seen.reachability.votes
    room = 0 if held else setting(after, MOVES_AT_ONCE) - under_way(partitions)
    for number, part in enumerate(partitions):
        if number in led:
            continue  # its replicas change under the epoch that stands, not together with it
        learner = said.get((number, Said.CAUGHT_UP))
        progress = ChangeProgress(
            learner is not None and learner.node == part.learner and not held,
            (number, Said.SETTLED) in said,
            seen.active(number),
        )
        stuck = part.learner is not None and seen.full(part.learner)
        wont_come = _always if stuck or seen.apart(part) else hopeless
        moved = step_on(part, after.version, progress, wont_come, gone, after.replication)
        if moved is None and part.learner is None and not part.old_voters and room > 0:
            fillable = partial(_can_be_filled, part, fit, seen)
            moved = begin(part, target[number], after.version, progress, fillable, votes)
            room -= moved is not None
        partitions[number] = moved if moved is not None else in_order(part, target[number], leads, arriving)
    nodes = [
        replace(node, state=NodeState.ACTIVE)
        if node.state == NodeState.JOINING and arrived(node.id, partitions, target)
        else node
        for node in after.nodes
    ]
    return replace(after, nodes=tuple(nodes), partitions=tuple(partitions))


# --- primaries ---------------------------------------------------------------------------------------


def _can_be_filled(part: Partition, fit: Callable[[NodeId], bool], seen: Observations, node: NodeId) -> bool:
    """Tell whether a newcomer is fit, and heard by the primary or by a voter that could take its place."""
    hears = seen.reachability.hears
    return fit(node) and any(hears(voter, node) for voter in part.voters)


def _successor(
    part: Partition,
    incarnations: dict[NodeId, Incarnation],
    seen: Observations,
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
    others = sorted((n for n in fit if n != part.primary), key=lambda n: (seen.full(n), n in last))
    if others:
        return others[0]
    return part.primary if gone and part.primary in fit else None


def _nearer_to_newcomer(part: Partition, seen: Observations) -> NodeId | None:
    """Return who must lead instead of a primary that does not hear its learner; None if nobody can help.

    A primary fills a learner itself: with the link between them cut, the move would stand still for as long.
    """
    learner = part.learner
    if learner is None or not seen.apart(part):
        return None
    return next(
        (
            node
            for node in part.voters
            if node not in (part.primary, part.replaces)
            and not seen.unfit(node)
            and _reaches_majority(node, part, seen.suspicions)
            and seen.reachability.hears(node, learner)
        ),
        None,
    )


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
