"""Operators' orders: whether one may be carried out, and the map in which it is.

Pure, and used twice: by the asked node, to refuse an order at once with a reason, and by the controller,
which decides. An order names a state that the cluster should have, so that repeating it changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Final

from ringkeep.core.cluster import cluster_settings, quorum_loss
from ringkeep.core.cluster.observations import Reachability
from ringkeep.core.cluster.replica_changes import holds_data
from ringkeep.core.protocol import quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState, partitions_of
from ringkeep.core.protocol.limits import WEIGHTS
from ringkeep.core.protocol.messages import Order
from ringkeep.core.protocol.types import NodeId


class Verb(StrEnum):
    """What may be ordered: the subject and the number of each."""

    DECOMMISSION = "decommission"  # a node id: move everything off, then let it stop
    GIVE_UP = "give-up"  # a node id: it is lost, rebuild its replicas on other nodes
    FORGET = "forget"  # a node id: it was given up and holds nothing, remove it from the map
    DRAIN = "drain"  # a node id: lead nothing
    UNDRAIN = "undrain"  # a node id: lead, and stay, as before
    WEIGHT = "weight"  # a node id: its share, the number
    SET = "set"  # the name of a setting: its value, the number
    RECOVER = "recover"  # a partition: continue with its best copy; its present epoch, 0 if unknown
    LOST = "lost"  # a node id: lost for good; given up with the recoveries that are ordered beside this


_STATES: Final[Mapping[str, NodeState]] = {
    Verb.DECOMMISSION: NodeState.LEAVING,
    Verb.GIVE_UP: NodeState.DEAD,
    Verb.DRAIN: NodeState.DRAINING,
    Verb.UNDRAIN: NodeState.ACTIVE,
}


def about(order: Order) -> tuple[str, str]:
    """Return what an order decides: a later order about the same replaces it."""
    subject, verb, _ = order
    return ("state" if verb in _STATES else verb), subject


def lost_by(orders: Iterable[Order]) -> frozenset[NodeId]:
    """Return the nodes that some of these orders name as lost."""
    return frozenset(NodeId(subject) for subject, verb, _ in orders if verb == Verb.LOST)


def objection(
    order: Order, current: ClusterMap, reachability: Reachability, lost: Collection[NodeId] = ()
) -> str:
    """Say why an order must not be carried out, and what to do instead; "" if it may.

    `lost`: the nodes that the orders beside it name as lost.
    """
    subject, verb, number = order
    if verb == Verb.SET:
        return _setting_objection(subject, number, current)
    if verb == Verb.RECOVER:
        return quorum_loss.objection(current, subject, reachability, lost)
    node = current.node(NodeId(subject))
    if node is None:
        return "there is no such node in the cluster map"
    if verb == Verb.FORGET:
        return _forget_objection(current, node, reachability)
    if node.state == NodeState.DEAD:
        return f"{node.name} was given up for dead before, and is not a member of the cluster any more"
    if verb == Verb.LOST:
        return quorum_loss.loss_objection(current, node, reachability)
    if verb == Verb.WEIGHT:
        if node.state == NodeState.DRAINING:
            return f"{node.name} is being drained: undrain it first, then change its weight"
        return "" if number in WEIGHTS else f"a weight is 1 to {WEIGHTS[-1]}, not {number}"
    if verb == Verb.DRAIN and node.state in (NodeState.LEAVING, NodeState.JOINING):
        return f"{node.name} is {node.state}: wait until that is over, then drain it"
    if verb == Verb.DECOMMISSION:
        return too_few(current.nodes, node, current.replication)
    return loss_objection(current, node, reachability) if verb == Verb.GIVE_UP else ""


def is_done(order: Order, current: ClusterMap) -> bool:
    """Whether the map shows an order carried out.

    A recovery shows as a later epoch: otherwise it would be repeated if the last replica fell silent after
    it.
    """
    subject, verb, number = order
    if verb == Verb.SET:
        if subject == cluster_settings.MOVES:
            return cluster_settings.setting(current, subject) == number
        return cluster_settings.all_settings(current).get(subject) == number
    if verb == Verb.RECOVER:
        part = quorum_loss.partition_of(current, subject)
        return part is not None and 0 < number < part.epoch
    node = current.node(NodeId(subject))
    if node is None:
        return True
    if verb == Verb.LOST:
        return node.state == NodeState.DEAD
    if verb == Verb.WEIGHT:
        return node.weight == number
    if verb == Verb.FORGET:
        return False
    stays = (NodeState.ACTIVE, NodeState.JOINING)
    return node.state in stays if verb == Verb.UNDRAIN else node.state == _STATES.get(verb)


def carry_out(orders: Iterable[Order], current: ClusterMap, reachability: Reachability) -> ClusterMap:
    """Return the map after carrying out the orders that have no objection; its version is the same.

    No node is given up as lost unless a recovery is ordered too.
    """
    orders = [order for order in orders if order[1] in list(Verb)]
    lost = lost_by(orders)
    for order in orders:
        if (
            order[1] != Verb.LOST
            and not is_done(order, current)
            and not objection(order, current, reachability, lost)
        ):
            current = _carried_out(order, current, reachability, lost)
    return current


def _carried_out(
    order: Order, current: ClusterMap, reachability: Reachability, lost: Collection[NodeId]
) -> ClusterMap:
    subject, verb, number = order
    if verb == Verb.SET:
        if subject == cluster_settings.REPLICATION:
            return replace(current, replication=number)
        if subject == cluster_settings.MOVES and number == cluster_settings.CANCELLED:
            current = replace(current, nodes=tuple(_staying(current, node) for node in current.nodes))
        return replace(current, settings=current.settings | {subject: number})
    if verb == Verb.RECOVER:
        return quorum_loss.recovered(current, int(subject), reachability, lost)
    node = current.node(NodeId(subject))
    assert node is not None, "an unknown node was objected to"
    if verb == Verb.FORGET:
        return replace(current, nodes=tuple(each for each in current.nodes if each is not node))
    if verb == Verb.WEIGHT:
        grows = node.state == NodeState.ACTIVE and number > node.weight
        new = replace(node, weight=number, state=NodeState.JOINING if grows else node.state)
    elif verb == Verb.UNDRAIN and node.state == NodeState.LEAVING:
        new = _staying(current, node)
    else:
        new = replace(node, state=_STATES[verb])
    return replace(current, nodes=tuple(new if each is node else each for each in current.nodes))


def _staying(current: ClusterMap, node: NodeInfo) -> NodeInfo:
    """Return a leaving node as one that stays; if it lost a quarter of its share, it joins again to regain
    it."""
    if node.state != NodeState.LEAVING:
        return node
    total = sum(len(part.voters) for part in current.partitions)
    weights = sum(other.weight for other in current.nodes if holds_data(other.state)) + node.weight
    emptied = 4 * len(partitions_of(current, node.id)) * weights < 3 * total * node.weight
    return replace(node, state=NodeState.JOINING if emptied else NodeState.ACTIVE)


# --- reasons to refuse -------------------------------------------------------------------------------


def _forget_objection(current: ClusterMap, node: NodeInfo, reachability: Reachability) -> str:
    if node.state != NodeState.DEAD:
        return (
            f"{node.name} was not given up, and cannot be forgotten:"
            f" ringkeep decommission {node.name}, with --dead if it is lost for good"
        )
    held = len(partitions_of(current, node.id))
    if held:
        return f"{held} partitions still name {node.name}: wait until others hold its replicas"
    if node.id in reachability.registered:
        return f"{node.name} is still registered in ZooKeeper: it learns that it was given up, and stops"
    return ""


def _setting_objection(name: str, value: int, current: ClusterMap) -> str:
    if name == cluster_settings.MOVES:
        return "" if value in cluster_settings.HOLDS else f"{value} is not a state of moves"
    problem = cluster_settings.objection(name, value)
    staying = sum(holds_data(node.state) for node in current.nodes)
    if not problem and name == cluster_settings.REPLICATION and value > staying:
        return f"{value} copies of each key need {value} nodes, but there are {staying}: add nodes first"
    return problem


def too_few(nodes: Iterable[NodeInfo], node: NodeInfo, replication: int) -> str:
    """Say that too few nodes would remain without this one; "" if enough do."""
    remain = sum(holds_data(other.state) for other in nodes if other is not node)
    if remain >= replication:
        return ""
    return (
        f"without {node.name} {remain} nodes would remain, but each key has {replication} copies:"
        " add a node first, or lower the replication"
    )


def loss_objection(current: ClusterMap, node: NodeInfo, reachability: Reachability) -> str:
    """Say why a node must not be given up as lost; "" if it may: no node hears it, no partition needs it."""
    listener = next((other.name for other in current.nodes if reachability.hears(other.id, node.id)), None)
    if reachability.answers(node.id) or listener is not None:
        who = f" to {listener}" if listener is not None else ""
        return f"{node.name} still answers{who}: stop it first, or decommission it as a living node"
    needing = needed_by(current, node.id, reachability)
    if needing:
        return (
            f"{node.name} is needed: without it partition {needing[0]} (one of {len(needing)}) has no"
            " majority of its replicas. Bring it or another silent node back; if they are lost for good:"
            " ringkeep recover partition all --accept-loss --lost NAME …"
        )
    return too_few(current.nodes, node, current.replication)


def needed_by(current: ClusterMap, node: NodeId, reachability: Reachability) -> list[int]:
    """Return the partitions in which a node votes that have no majority of other voters that answer."""
    voting = [n.id for n in current.nodes if n.id != node and reachability.votes(n.id)]
    return [
        number
        for number, part in enumerate(current.partitions)
        if node in quorum_loss.voters_of(part) and not quorum.won(part.voters, part.old_voters, voting)
    ]
