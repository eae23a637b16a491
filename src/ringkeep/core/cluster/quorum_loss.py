"""Continues a partition whose majority is lost for good with its best copy, on an operator's order.

This is the only step that may lose acknowledged writes: those that only the lost nodes held. So it needs an
order, is taken only where no majority answers, and only once every node of the map either reports what it
holds or is named as lost. Silence proves nothing: a silent node may serve on the other side of a network
partition. The lost nodes are given up in the same map: if one comes back, its files are renamed and kept, and
nothing is merged.

The partition continues with the copy of the greatest (last epoch, last index), whatever role its node had. It
holds every committed entry that any other copy holds: a primary that took over under an epoch had adopted all
entries committed before, and of two logs that end in one epoch the longer one contains the other.

What only the lost nodes knew must not be mistaken for later data: the epoch is raised past every promise, and
the indices, which are the versions of keys, past all that can have been used.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from ringkeep.core.cluster.observations import Copy, Reachability
from ringkeep.core.cluster.replica_changes import holds_data
from ringkeep.core.protocol import limits, quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeInfo, NodeState, Partition
from ringkeep.core.protocol.types import Epoch, Index, MapVersion, NodeId


def voters_of(part: Partition) -> tuple[NodeId, ...]:
    """Return every voter of a partition, old and new, each once."""
    return tuple(dict.fromkeys(part.voters + part.old_voters))


def left_of(part: Partition, reachability: Reachability) -> tuple[NodeId, ...]:
    """Return the voters that answer and are not damaged."""
    return tuple(node for node in voters_of(part) if reachability.votes(node))


def is_lost(part: Partition, reachability: Reachability) -> bool:
    """Whether no majority of a partition's voters answers."""
    return not quorum.won(part.voters, part.old_voters, left_of(part, reachability))


def partition_of(current: ClusterMap, subject: str) -> Partition | None:
    """Return the partition of that number, as an order names it; None if there is none."""
    known = subject.isascii() and subject.isdecimal() and int(subject) < len(current.partitions)
    return current.partitions[int(subject)] if known else None


# --- what is left ------------------------------------------------------------------------------------


def copies_of(current: ClusterMap, number: int, reachability: Reachability) -> tuple[NodeId, ...]:
    """Return the nodes that answer and hold a copy of a partition, the most advanced first.

    A copy in a damaged store counts too, though its end may be missing. Of equal copies, those that the map
    does not name any more come last but one, and damaged ones last.
    """
    replicas = current.partitions[number].replicas
    copies = [(node.id, copy) for node, copy in _said(current, number, reachability) if copy.last_index]

    def rank(each: tuple[NodeId, Copy]) -> tuple[int, int, bool, bool]:
        node, copy = each
        return -copy.last_epoch, -copy.last_index, reachability.damaged(node), node not in replicas

    return tuple(node for node, _ in sorted(copies, key=rank))


def home_of(current: ClusterMap, number: int, reachability: Reachability) -> NodeId | None:
    """Return the node with which a partition continues: the best copy's; without any copy, an empty one.

    Without any copy, a node that is to stay goes before one that leaves, and an undamaged one before one that
    is damaged. But any node that answers will do: without a majority, no other node can join.
    """
    left = copies_of(current, number, reachability)
    empty = [node for node in _living(current) if reachability.answers(node.id)]
    empty.sort(key=lambda node: (not holds_data(node.state), reachability.damaged(node.id)))
    return next(iter((*left, *(node.id for node in empty))), None)


def _said(current: ClusterMap, number: int, reachability: Reachability) -> list[tuple[NodeInfo, Copy]]:
    """Return what the nodes that answer have reported of a partition."""
    said = [
        (node, reachability.copy(node.id, number))
        for node in _living(current)
        if reachability.answers(node.id)
    ]
    return [(node, copy) for node, copy in said if copy is not None]


def _living(current: ClusterMap) -> list[NodeInfo]:
    return [node for node in current.nodes if node.state != NodeState.DEAD]


# --- whether it may be done --------------------------------------------------------------------------


def objection(current: ClusterMap, subject: str, reachability: Reachability, lost: Collection[NodeId]) -> str:
    """Say why a partition must not be recovered; "" if it may. `lost`: the nodes that were named as lost."""
    part = partition_of(current, subject)
    if part is None:
        return f"there is no partition {subject}: they are 0 to {len(current.partitions) - 1}"
    if not is_lost(part, reachability):
        return f"partition {subject} has a majority of its replicas, and needs no recovery"
    survivor = _goes_on_with(current, part)
    if survivor is not None and reachability.answers(survivor.id):
        return (
            f"partition {subject} was recovered already, and continues with {survivor.name} as soon as it"
            f" can: try again in some seconds, and restart {survivor.name} if nothing changes"
        )
    silent = [node for node in _living(current) if not reachability.answers(node.id)]
    alive = next(filter(None, (sign_of_life(current, node, reachability) for node in silent)), "")
    if alive:
        return f"{alive} It may have all of partition {subject}"
    unnamed = [node.name for node in silent if node.id not in lost]
    if unnamed:
        return _name_them(unnamed)
    waits = [
        n.name
        for n in _living(current)
        if reachability.answers(n.id) and reachability.copy(n.id, int(subject)) is None
    ]
    if waits:
        return (
            f"{waits[0]} has not reported yet its copy of partition {subject}, which may be the best one:"
            " try again in some seconds, and repair the network if some nodes cannot reach each other"
        )
    if home_of(current, int(subject), reachability) is None:
        return f"no node is left that could hold partition {subject}: form a new cluster, under another name"
    return ""


def _goes_on_with(current: ClusterMap, part: Partition) -> NodeInfo | None:
    """Return the node with whose present start a partition was recovered, if it is still the only voter.

    Until others hear that it is not damaged any more it seems lost to them, and may serve already: what it
    reported before may be less than it has acknowledged since.
    """
    node = current.node(part.primary)
    alone = part.base > 0 and part.voters == (part.primary,) and not part.old_voters
    return node if alone and node is not None and node.incarnation == part.incarnation else None


def sign_of_life(current: ClusterMap, silent: NodeInfo, reachability: Reachability) -> str:
    """Say why a node that does not answer here may be alive; "" if nothing shows it."""
    listener = next((other.name for other in current.nodes if reachability.hears(other.id, silent.id)), None)
    if listener is not None:
        return f"{silent.name} still answers to {listener}: repair the network, or stop it first."
    if silent.id in reachability.registered:
        return (
            f"{silent.name} is still registered in ZooKeeper: it is unreachable, or its session has not"
            " expired. Retry in some seconds, or repair the network."
        )
    return ""


def loss_objection(current: ClusterMap, node: NodeInfo, reachability: Reachability) -> str:
    """Say why a node must not be named as lost; "" if it may."""
    if reachability.answers(node.id):
        return f"{node.name} answers, and is not lost: leave it out, or stop it first"
    return sign_of_life(current, node, reachability)


def _name_them(names: Sequence[str]) -> str:
    listed = ", ".join(names)
    options = " ".join(f"--lost {name}" for name in names)
    return (
        f"these nodes do not answer, but may be alive: {listed}. If this node only cannot reach them, what"
        " they acknowledged would be lost. Start them, or repair the network, and nothing is lost. Those that"
        f" are lost for good must be named: {options}"
    )


# --- the map in which it is --------------------------------------------------------------------------


def recovered(
    current: ClusterMap, number: int, reachability: Reachability, lost: Collection[NodeId]
) -> ClusterMap:
    """Return the map in which a partition continues with its best copy alone, and the lost nodes are dead.

    The other nodes may delete their copies once this one serves: it holds all that they hold.
    """
    part, home = current.partitions[number], home_of(current, number, reachability)
    assert home is not None, "a partition without a possible node was objected to"
    copies = [copy for _, copy in _said(current, number, reachability)]
    promised = max((copy.promised for copy in copies), default=Epoch(0))
    highest = max((copy.last_index for copy in copies), default=Index(0))
    step = limits.RECOVERY_STEP
    gone = [node for node in lost if not reachability.answers(node)]
    nodes = tuple(replace(n, state=NodeState.DEAD) if n.id in gone else n for n in current.nodes)
    incarnations = {node.id: node.incarnation for node in nodes}
    parts = list(current.partitions)
    parts[number] = Partition(
        Epoch(max(part.epoch, promised) + 1), home, incarnations[home], (home,),
        MapVersion(current.version + 1), base=Index(step * (1 + max(part.base, highest) // step)),
    )  # fmt: skip
    return replace(current, nodes=nodes, partitions=tuple(parts))
